"""Errors a user can act on; each knows the exit code of the command line."""

from __future__ import annotations


class PruneError(Exception):
    """Base of every error this package raises on purpose. Its text is one clear sentence."""

    exit_code = 1


class UsageError(PruneError):
    """The call itself is wrong: an option, a path, a plan that belongs to another model."""

    exit_code = 2


class StorageError(UsageError):
    """The operating system refuses to write: no space, no permission, a folder that is gone."""


class ModelError(PruneError):
    """The model cannot be read, is invalid, or cannot be run by ONNX Runtime."""

    exit_code = 3


class DataError(PruneError):
    """The samples cannot be read or do not fit the model."""

    exit_code = 4


class RequestError(PruneError):
    """The model and data are fine, but what was asked for cannot be had."""

    exit_code = 5


class DivergenceError(RequestError):
    """Training has lost its way: the loss or a gradient is no longer finite, or the loss has exploded."""


class VerificationError(PruneError):
    """The pruned model does not compute what the masked model computes; nothing was saved."""

    exit_code = 6


class Interrupted(KeyboardInterrupt):
    """A run was stopped by Ctrl-C or SIGTERM; the text says what was kept and how to go on.

    No `PruneError`: a caller that goes on with the next model after an error should still stop here.
    """

    exit_code = 130
