"""Scoring in Spark's tasks, and what the driver does before and with what they wrote."""
