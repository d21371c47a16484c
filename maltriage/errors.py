"""The one error that library code raises for a user to read."""


class MaltriageError(Exception):
    """Something the user can act on: wrong use, a bad bundle, missing data.

    The message is one clear line, without a traceback. The command line prints it on
    stderr and ends with exit code 2.
    """

    at_once = False
    """Whether the process cannot end in order any more, and has to be ended when this is said."""
