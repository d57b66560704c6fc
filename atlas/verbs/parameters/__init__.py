"""The parameters of verbs: their types and accepted values, and the signatures that commands are made of."""
