"""Only `io.mlflow.loading`, by whose name models registered before load."""
