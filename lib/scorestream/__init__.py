"""Batch and streaming scoring of DeFi wallets on Spark, around one pure columnar core."""

__version__ = "0.1.0"
