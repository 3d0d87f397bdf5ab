"""A shard with its parents, siblings and helpers, as its files say it."""
