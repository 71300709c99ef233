"""A model of tables: features encoded, families of learners, predictions, reasons, metrics."""
