"""Models of tables, trained from a configuration file: `job` is `train_model`.

config: what a use case is; data: its rows; model: what learns and predicts; search: which does it
best; runs: what stays of a training, and who is champion; apply: models applied to tables.
"""
