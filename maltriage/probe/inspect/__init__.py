"""Inspects ranges of a file's bytes, in worker processes; one kind of content a module.

Nothing here raises for a file's content: what cannot be read is left out, or noted. All loops and
lists are bounded, by constants at the top of their modules.
"""
