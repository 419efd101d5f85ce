"""The one exception a user is meant to see."""


class IsoflopError(Exception):
    """Something the user can fix: one sentence saying what is wrong, one hint saying what to do.

    Everything else that goes wrong is a bug (ValueError, assert: shown with its traceback) or an
    outcome of an experiment (a value of an enum, never an exception).
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
