"""A worker's handling of a sample: prepares it for a net, inspects it, changes a copy of it."""
