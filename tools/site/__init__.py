"""The documentation site: what MkDocs does not know of this repository."""
