"""Files that appear whole: tensors, rows, item ids, registries, and the checks of all of them."""
