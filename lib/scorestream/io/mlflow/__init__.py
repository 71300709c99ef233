"""Only `loading`, by whose name models registered before load."""
