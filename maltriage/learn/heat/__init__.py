"""Heat maps of nets: the explanation as part of a model, other methods, and what maps teach."""
