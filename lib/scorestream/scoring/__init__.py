"""Scoring in Spark's tasks: records in, rows of the tables in data files, results to Kafka."""
