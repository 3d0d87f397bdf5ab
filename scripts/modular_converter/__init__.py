"""Expands shards into files that stand alone. Floors, from the ground up: syntax, sources, naming, shards, merging, layout, checks, output,
releases, cache; `run` is the roof. A floor imports from those below it."""
