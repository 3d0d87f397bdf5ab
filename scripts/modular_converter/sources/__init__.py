"""Files: where they lie, how they are read and cut into statements, which file an import leads to, and what is wrong in them."""
