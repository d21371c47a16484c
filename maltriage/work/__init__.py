"""Worker processes, which read samples and may die: their channels and their sandbox."""
