"""The `hetero` command: `cli` has the options, a module beside it does the work."""
