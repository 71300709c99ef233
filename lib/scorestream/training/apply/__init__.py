"""A registered model applied to tables: predictions, reasons, drift; the tables written."""
