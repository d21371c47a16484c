"""A sample and a bundle become a report."""
