"""Whether to change the embedding model, and how: each way measured on the user's own queries, and one verdict."""
