"""The options of the commands that train nets, and what they say."""
