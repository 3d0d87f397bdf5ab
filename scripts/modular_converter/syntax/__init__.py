"""Python and the shard language as LibCST trees: what code says, names, binds and calls. Opens no file."""
