"""Scoring in batch: what the stream does to messages, done to files and to the stored history."""
