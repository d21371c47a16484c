"""One result as a screen and as a page: score, regions, hot ranges and their content."""
