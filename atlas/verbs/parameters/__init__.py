"""The parameters of verbs: their types and what may be given for them, and the signatures that commands are made of."""
