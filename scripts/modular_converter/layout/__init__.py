"""Which definitions go to which output, in which order, and where each comes from."""
