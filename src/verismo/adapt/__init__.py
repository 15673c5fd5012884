"""ADAPT, pure: what controllers decide from recorded windows. No I/O, no clock, no randomness."""
