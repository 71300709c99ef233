"""The stream: from the Kafka topic to Delta and Kafka, exactly once in Delta."""
