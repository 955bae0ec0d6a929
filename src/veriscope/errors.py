"""Why veriscope stops, or warns: one tree of errors, each message with the rule, the value and the way out."""

from __future__ import annotations

import re
import sys
import warnings


def addresses(text: str) -> str:
    """`text` with addresses as they are typed: pathlib.Path writes ``s3:/bucket`` for ``s3://bucket``."""
    return re.sub(r"\b(s3|gs|az|https?|memory):/(?=[^/\s])", r"\1://", text)


class VeriscopeError(ValueError):
    """Something the user gave cannot be used; the message says what, and how to continue."""

    def __init__(self, message: object = "") -> None:
        super().__init__(addresses(str(message)))


class AxesError(VeriscopeError):
    """Axes are missing, unknown, repeated, or do not fit the array."""


class ImageFormatError(VeriscopeError):
    """A file is not an image that can be read or written here, or is damaged."""


class PairingError(VeriscopeError):
    """Low and high images cannot be matched with each other."""


class DataError(VeriscopeError):
    """The pixels themselves are unusable: NaN, constant, too small, of differing shapes."""


class ModelError(VeriscopeError):
    """A model folder or recipe is missing, damaged, too new, or made for other images."""


class TrainingError(VeriscopeError):
    """Training cannot start or continue."""


class OutputError(VeriscopeError):
    """A result cannot be written to the place that was asked for."""


class DeviceError(VeriscopeError):
    """The device is absent or has too little memory."""


class VeriscopeWarning(UserWarning):
    """Worth knowing, but not a reason to stop."""


def warn(message: str) -> None:
    """A VeriscopeWarning, at the line outside of this package that led to it."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(f"{__package__}."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, VeriscopeWarning, stacklevel=level)
