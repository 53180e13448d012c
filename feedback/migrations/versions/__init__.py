"""One module per change of schema, oldest first."""
