"""What veriscope says when it stops: one tree of errors, each message with the rule, the value and the way out."""

from __future__ import annotations


class VeriscopeError(ValueError):
    """Something the user gave cannot be used; the message says what and how to go on."""


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
    """Training cannot start or go on."""


class OutputError(VeriscopeError):
    """A result cannot be written where it was asked for."""


class DeviceError(VeriscopeError):
    """The device is absent or has too little memory."""


class VeriscopeWarning(UserWarning):
    """Worth knowing, but not a reason to stop."""
