"""One net trained: recipe, data, loop, devices, checkpoints."""
