"""SQL over the tables and views: `query` by Spark, `shell` without a JVM by DuckDB."""
