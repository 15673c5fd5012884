"""One worker that takes requests from one bucket as fast as it can, all at the same moment."""

import sys
from pathlib import Path

from verismo.adapters.rates_mapped import MappedRates

if __name__ == "__main__":
    path, per_minute, now_ms, tries = sys.argv[1:]
    # On a busy machine a process may be off its core for long, with the lock.
    table = MappedRates(Path(path), lock_s_max=60)
    bucket = table.bucket(("calls", "key", "K", "requests"), float(per_minute))
    print("ready", flush=True)
    sys.stdin.readline()
    print(sum(bucket.try_take(1, int(now_ms)) for _ in range(int(tries))), flush=True)
    table.close()
