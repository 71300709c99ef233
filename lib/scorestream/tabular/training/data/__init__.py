"""The rows of a training: read, checked, kept, split."""
