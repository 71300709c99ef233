"""Delivery: messages of a Kafka topic to Delta tables, exactly once, and to Kafka topics."""
