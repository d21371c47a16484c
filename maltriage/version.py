"""The version of maltriage. Imports nothing, so that every module may name it."""

__version__ = "0.3.3"
