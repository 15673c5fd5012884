"""The control plane: supervision of the workers, the administrators' API, metrics."""
