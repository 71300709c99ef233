"""Scorers: features and points of a wallet, each in a module or package of its own; `registry`."""
