"""One file for each revision, `state_<revision>.py`."""
