"""Archives in which samples travel: what is in them, read in memory, under caps.

Nothing is written to disk and no name of a member is ever a path on it. All of this runs in
worker processes: the parsers of archives are as open to attack as those of programs.
"""
