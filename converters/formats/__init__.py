"""The forms in which checkpoints are published, one file a format, and what recognises them."""
