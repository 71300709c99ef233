"""Kafka: `cluster` for the driver, `consumer` and `producer` for the tasks."""
