"""The errors for what a user can mend.

Everything that is wrong with an input (a path, a file, a value in a config) is raised as `InputError`, with a message
that says what was expected, what came, where, and what to do. Any other exception is a fault of this package.
"""


class InputError(ValueError):
    """Something the user gave can't be used; the message says what to do about it.

    Attributes:
        shared: Whether all processes of a run raise it, so that the first may speak for all.
    """

    shared = False


class ServiceError(InputError):
    """A service that scores replies does not answer; a run that has a checkpoint can go on once it does."""


class StorageError(InputError):
    """A file of a run can't be written: the disk is full, read-only or gone. What was written before is whole."""
