"""Examples that the demonstration runs and that users copy; they use the client alone."""
