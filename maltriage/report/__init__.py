"""The result document and its renderers, one file per format."""
