"""The `hetero` command, the generator behind it, and beside them what only a clone has: demo, benches, maintenance."""
