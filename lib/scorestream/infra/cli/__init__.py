"""Shared code of the commands: options, exit codes, the launcher."""
