"""Our Delta tables: `warehouse` on the driver, `files` inside the tasks."""
