"""The error that a user can mend."""


class InputError(Exception):
    """Bad input: one line that says what is wrong, where, what was expected and how to mend it."""


def first_line(error: Exception) -> str:
    """The first line of an error's message, without a full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def with_cause(error: Exception) -> str:
    """The first line of an error's message and that of its cause, where it has one, which often knows more."""
    return f"{first_line(error)}: {with_cause(error.__cause__)}" if error.__cause__ else first_line(error)
