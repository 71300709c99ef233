"""The Delta tables of wallets and the views over them."""
