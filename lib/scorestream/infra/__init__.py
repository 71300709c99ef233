"""Infrastructure without domain knowledge: storage, Delta, Kafka, MLflow, Spark, SQL, settings."""
