"""One file for each outside thing; the only place with third-party clients."""
