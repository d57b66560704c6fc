"""Networks described by plain data, and the heads that read vectors."""
