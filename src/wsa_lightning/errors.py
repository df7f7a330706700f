"""The one exception a user is meant to read."""


class UserError(ValueError):
    """Something the user can mend: the message names the file or key, the value seen, and the remedy.

    The command line prints it as one line, without a traceback, and exits with status 2.
    """
