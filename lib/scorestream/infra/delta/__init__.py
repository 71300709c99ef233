"""Delta tables: `warehouse` for the driver, `data_files` for the tasks."""
