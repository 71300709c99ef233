"""The rows of a training: reads, checks, stores and splits them."""
