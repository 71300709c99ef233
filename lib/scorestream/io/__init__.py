"""The outside systems: one package or module for each."""
