"""Configuration: settings from the environment, typed YAML files."""
