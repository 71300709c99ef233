"""What runs on a developer's machine only: the local broker, the demo."""
