"""What runs on a developer's machine: the local broker, a standalone cluster, the demo."""
