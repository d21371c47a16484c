"""A sample: its types, layout, identity, and the views of it that a net reads."""
