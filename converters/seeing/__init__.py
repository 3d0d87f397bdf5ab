"""What a model computes and what it passes to attention, made visible: traces of its modules, and its masks."""
