"""The errors that a user can meet. Every room may raise them; only the command line catches them."""

__all__ = ["EstimationError", "InputError"]


class InputError(ValueError):
    """Wrong input. The message says what came, what was expected and what to do."""


class EstimationError(RuntimeError):
    """An estimate failed, and the caller asked for an exception (`on_failure="raise"`)."""
