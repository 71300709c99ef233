"""The outside systems: one module for each, the only one that talks to it."""
