"""What wallet models learn from: wallets as they were at cutoffs, and what became of them."""
