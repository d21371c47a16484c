"""One result as a screen and as a page: score, regions, hot ranges, and what is in them."""
