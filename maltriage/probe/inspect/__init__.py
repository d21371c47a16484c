"""What is in a range of a file's bytes. Runs in worker processes; one kind of content a module.

Nothing here raises for what is in a file: what cannot be read is absent, or is a note. Whatever
is walked or listed has a bound, named at the top of its module.
"""
