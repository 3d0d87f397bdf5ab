"""What `make bench` measures, as ratios within one run. Only in a clone."""
