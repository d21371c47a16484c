"""Heat maps of nets: the explanation in a model's graph, other methods, guidance by maps."""
