"""A file on disk becomes a sample: source, identity, layout, views."""
