"""What measures speed: limits, the product, its peers; `make bench` runs all of it."""
