"""The demo: the verbs on the digits that ship with Atlas, a table, a page and a picture."""
