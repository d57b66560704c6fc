"""A registry as pages to look at: static files that work from a folder and on any host."""
