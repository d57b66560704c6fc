"""Cards: names, spaces, kinds of artefacts, and the YAML they are written in; no torch."""
