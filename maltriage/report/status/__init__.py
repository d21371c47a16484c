"""Screens of what is here: store, index, datasets, installation."""
