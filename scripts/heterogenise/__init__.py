"""A family whose layers may differ out of a decoder of transformers: reading the parent, and writing the shard."""
