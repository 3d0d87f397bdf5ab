"""What would be lost or would not fit in an output, told at its place in the shard."""
