"""What Atlas stores, on paper: names, spaces, kinds of cards, and the YAML they are written in; no torch."""
