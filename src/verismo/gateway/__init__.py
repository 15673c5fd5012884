"""The data plane: one request path, `pipeline.py`, and one file for each of its steps."""
