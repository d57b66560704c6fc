"""Pictures of figures and of spaces."""
