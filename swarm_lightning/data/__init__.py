"""Examples that guide and test a search: reading them, checking them, and handing them to Lightning."""
