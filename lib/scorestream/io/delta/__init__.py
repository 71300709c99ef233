"""All that reads and writes Delta tables: `warehouse` on the driver, `files` inside the tasks."""
