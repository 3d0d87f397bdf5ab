"""Expansions that are remembered, and by what they are known to be the same."""
