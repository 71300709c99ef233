"""Where wallets stand among those of a protocol: percentiles over the history, and their export."""
