"""The error that a user can mend."""


class InputError(Exception):
    """Bad input: one line that says what is wrong, where, what was expected and how to mend it."""
