"""What shards replace of their parents, and how it follows from one release of these to another."""
