"""The `hetero` command, the generator behind it, and what checks and measures."""
