"""Which model versions are served, and in what state."""
