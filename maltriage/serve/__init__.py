"""Scans over HTTP on the loopback of this machine: `maltriage serve`."""
