"""From a corpus to a bundle: nets, training, explanation, export. Needs torch (`train`)."""
