"""Training of one net: recipe, data, loop, devices, checkpoints."""
