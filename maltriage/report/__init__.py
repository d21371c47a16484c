"""The result document and its renderers, one file a format."""
