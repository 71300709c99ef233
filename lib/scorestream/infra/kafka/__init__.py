"""All that talks to Kafka: `cluster` on the driver, `fetching` and `producing` inside the tasks."""
