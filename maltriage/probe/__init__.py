"""What a worker does with a sample: prepares it for a net, looks into it, changes a copy of it."""
