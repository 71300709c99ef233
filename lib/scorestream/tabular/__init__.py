"""Models of tables: model, registry, training, inference and drift."""
