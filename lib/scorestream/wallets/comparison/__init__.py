"""Two scorings of the same wallets, compared: by models, or by runs."""
