"""What a use case is: the keys of `conf/models/NAME.yaml`, checked."""
