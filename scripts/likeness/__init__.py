"""Which model of transformers a modeling file is nearest to, by its trees, and the shard that says the same."""
