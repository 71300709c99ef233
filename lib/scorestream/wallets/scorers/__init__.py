"""Scoring models: features and points of a wallet, each in a package of its own."""
