"""What the benchmarks share: processes on chosen cores, upstreams, gateways, load, results."""
