"""The shards: what a person writes. `hetero generate` expands them into the package."""
