"""Files of our own: where they lie, who may read them, one writer at a time."""
