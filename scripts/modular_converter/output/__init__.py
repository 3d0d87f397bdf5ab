"""The text of the outputs: imports, order, banner, package, format."""
