"""Configuration of a use case: `conf/models/NAME.yaml`, typed and checked."""
