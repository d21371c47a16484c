"""maltriage: triage of Windows executables from images of their bytes."""

__version__ = "0.1.0"
