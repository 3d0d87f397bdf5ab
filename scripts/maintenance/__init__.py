"""What follows the world outside: the newest transformers, older releases, other programs. Only in a clone."""
