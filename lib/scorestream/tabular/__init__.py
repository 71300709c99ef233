"""Models of tables: what a model is, its training, its use, its drift."""
