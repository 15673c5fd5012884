"""Seeded mutations of octets, the same on every machine, for the tests that no mutant is taken."""

import os
import random
from collections.abc import Iterator

MUTATIONS = 100_000
DEAR_MUTATIONS = 20_000 if os.environ.get("CI") else MUTATIONS
"""Where each takes a check of signatures, continuous integration tries the first fifth, as it tries
fewer of Hypothesis's examples."""
PIECES = (b"", b"\0", b"\n", b"\r", b"\n\n", b".", b"..", b"=", b":", b'"', b"{", b"}", b"\\u0061")
LETTERS = b'AZaz09-_+/=.,:"{}[] \n\\'


def mutants(original: bytes, seed: str, count: int = MUTATIONS) -> Iterator[bytes]:
    """Yield changed copies: bits, cuts, copies, insertions, swaps; one to three at once."""
    uniform = random.Random(seed).random

    def pick(count: int) -> int:
        return int(uniform() * count)

    made = 0
    while made < count:
        data = bytearray(original)
        for _ in range((1, 1, 1, 2, 3)[pick(5)]):
            a = pick(len(data) + 1)
            b = min(len(data), a + pick(40))
            match pick(6):
                case 0 if data:
                    data[pick(len(data))] ^= 1 << pick(8)
                case 1:
                    del data[a:b]
                case 2:
                    data[b:b] = data[a:b]
                case 3:
                    data[a:a] = PIECES[pick(len(PIECES))] or bytes([pick(256), pick(256)])
                case 4 if data:
                    data[pick(len(data))] = LETTERS[pick(len(LETTERS))]
                case _:
                    data[a:b] = data[a:b][::-1]
        if data != original:
            made += 1
            yield bytes(data)
