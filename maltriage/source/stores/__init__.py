"""Stores of files at URLs, one module a kind of store, all that knows fsspec.

What they have in common is in `base`; which one a URL is of, `maltriage.source.remote` says. Each
gives what is known of a file without reading it, the files below a URL, and a file to read.
"""
