"""How a command line is read: options from the config file, and their help."""
