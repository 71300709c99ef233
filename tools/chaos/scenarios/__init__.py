"""The scenarios, a module for each part of the system that fails."""
