"""How a command ends: by Ctrl-C or SIGTERM, in time, and with which exit code."""
