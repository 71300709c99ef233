"""What knows no domain: configuration, storage, Delta, Kafka, MLflow, MongoDB, Spark, commands."""
