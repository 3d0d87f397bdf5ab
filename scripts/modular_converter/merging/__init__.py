"""A class of a shard and its parent's as one: headers, attributes, methods, and calls on `super()`."""
