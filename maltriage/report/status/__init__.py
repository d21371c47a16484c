"""Screens of status: store, index, datasets, installation."""
