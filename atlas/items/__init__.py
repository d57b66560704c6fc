"""Items from files and from Python: texts, images, tables and arrays."""
