"""A small checkpoint from end to end: what `make demo` shows."""
