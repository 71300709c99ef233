"""Hostile messages: made by mutation, and checked against what is promised of every message."""
