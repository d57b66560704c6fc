"""Acting on advice: a plan, a journal beside it, and the steps that change a store."""
