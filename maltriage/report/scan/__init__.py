"""The records of a scan as a table, a page, rows, events, or a stream of JSON; its progress."""
