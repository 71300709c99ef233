"""Read-only SQL: guards for Spark and DuckDB, and output of rows."""
