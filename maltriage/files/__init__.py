"""Maltriage's own files: their folders, permissions, locks, and atomic writing."""
