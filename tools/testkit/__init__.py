"""What tests, chaos and benchmarks share: servers, wallets, checks of what a run left behind."""
