"""Reference data: stable tokens, and percentiles of the population by protocol."""
