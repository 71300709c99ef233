"""Statements that only read: what one may do in Spark and in DuckDB, and how its rows are shown."""
