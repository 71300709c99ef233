"""What runs on a developer's machine only: the local broker, generated wallets, the demo."""
