"""A trained model of a table: how its families learn, predict and explain.

What applies one imports neither Spark nor MLflow nor the training.
"""
