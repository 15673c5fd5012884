"""ATTEST, pure: what is hashed, signed and verified. No I/O, no clock, no randomness."""
