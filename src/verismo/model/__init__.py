"""Plain frozen values that every other package may use; nothing here does I/O."""
