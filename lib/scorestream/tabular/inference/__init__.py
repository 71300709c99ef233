"""Registered models applied to tables in batch."""
