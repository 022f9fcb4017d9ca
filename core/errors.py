"""What can go wrong for a user, each with the exit status of the command line."""


class OrnsteinError(Exception):
    """An error that a user can act on: one line that says what is wrong, and one that says what to do.

    Args:
        message: what was found and what was wanted, with the name of the file and the field.
        hint: what to do; empty where the message says it.
    """

    code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(OrnsteinError):
    """Contradictory or impossible options, an output that exists, a folder that does not."""

    code = 2


class InputError(OrnsteinError):
    """A file that cannot be read or does not hold what it should: wrong shape, NaN, implausible units."""

    code = 3


class RefusedError(OrnsteinError):
    """An input that is far from what the model was made for."""

    code = 4


class TooLargeError(OrnsteinError):
    """An input that does not fit in memory, even in tiles."""

    code = 5


class ModelError(OrnsteinError):
    """A model, or another file with a checksum, that is absent, damaged or of another kind."""

    code = 6


class BatchError(OrnsteinError):
    """Some files of a batch failed; the others are written."""

    code = 7
