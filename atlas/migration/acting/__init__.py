"""Acting on what was advised: a plan, a journal beside it, and what is done to the store."""
