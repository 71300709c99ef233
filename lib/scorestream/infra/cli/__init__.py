"""What the commands share: how they run and end, logs, options."""
