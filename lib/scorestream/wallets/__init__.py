"""Scores of wallets: the core, its scorers, and all that runs them in stream and batch."""
