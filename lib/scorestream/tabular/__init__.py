"""A model of a table, and all that it takes to apply one: no Spark, no MLflow, no training."""
