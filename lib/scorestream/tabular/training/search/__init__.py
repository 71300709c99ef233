"""Search: trains, cross-validates and compares candidates and baselines."""
