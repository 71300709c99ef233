"""Tools of the project: nothing of the product imports them."""
