"""Stores of files at URLs, one module a kind of store; only they know fsspec.

`base` has their interface; `maltriage.source.remote` chooses the store of a URL. Each gives the
properties of a file without reading it, the files below a URL, and a file to read.
"""
