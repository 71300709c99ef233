"""A model of a table: what it is made of, how its families learn, predict and explain.

What applies one imports neither Spark nor MLflow nor `training`.
"""
