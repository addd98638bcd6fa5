"""The errors a user can meet; every room may raise them, and only the command line catches them."""

__all__ = ["EstimationError", "InputError"]


class InputError(ValueError):
    """Something given to llckit is not what it needs: the message says what came, what was expected, what to do."""


class EstimationError(RuntimeError):
    """An estimate did not succeed and the caller asked for an exception (`on_failure="raise"`)."""
