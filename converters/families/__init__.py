"""What the converters know of our families: the names and shapes of their tensors, one file a family."""
