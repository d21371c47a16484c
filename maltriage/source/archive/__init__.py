"""Reads archives file by file: in memory, under caps.

Nothing is written to disk and no name of a member is ever a path on it. All of this runs in
worker processes, as parsers of archives are as open to attack as those of programs.
"""
