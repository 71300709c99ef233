"""Made-up wallets whose behaviour is known."""
