"""Models of tables: trained from a configuration file, evaluated, explained; pure but for `job`."""
