"""Models of tables, trained from a configuration file: `job` is `train_model`.

config: what a use case is; data: its rows; search: which model does it best; runs: what stays of a
training, and who is champion; apply: models applied to tables. The models are in `tabular`.
"""
