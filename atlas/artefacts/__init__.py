"""What Atlas stores, alive: a card and its tensors together."""
