"""Which family is made of which: read off shards, of this package, of any folder, or of transformers itself."""
