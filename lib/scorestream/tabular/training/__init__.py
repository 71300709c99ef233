"""`train_model`: trains the models of a use case from its configuration file.

`config` is the configuration of a use case; `data` reads, checks and splits its rows; `search`
trains and compares candidates; `runs` logs the training and decides who is champion.
"""
