"""The rows of a training: read, checked, kept, split; and tables that are written."""
