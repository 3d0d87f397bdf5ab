"""Names of models: how they are spelled, what a parent's are renamed to, and what keeps its name."""
