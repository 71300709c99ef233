"""Files on any file system: paths, CSV, locks, leases."""
