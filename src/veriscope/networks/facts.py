"""What a model remembers beside its weights. Read, checked and written here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, TypeVar

from veriscope.calibrated import Calibration
from veriscope.errors import ModelError
from veriscope.expected import Expectation
from veriscope.familiarity import Familiar
from veriscope.networks.checking import OneOf, Real, Whole, wrong
from veriscope.normalize import Normalization

VERSION = 1  # of the facts; grows when an older veriscope would misread them
USUAL = ("2.0", "99.8")  # percentiles that become 0 and 1 (SI 2.2)
MEASURED = ("calibration", "expected", "familiar")
_RANGE = OneOf(None, {"percentiles": {None: [Real()]}, "minimum": [Real()], "maximum": [Real()]})
FORM = {
    "version": Whole(1, 10**9),
    "low": _RANGE,
    "high": _RANGE,
    "voxel_size": OneOf(None, [OneOf(None, Real(1e-9, 1e9))]),
    "time_step": OneOf(None, Real(0)),
    "training": {"finished_members": Whole(0, 1000)},
    "history": [{"member": Whole(0, 1000), "seconds": Real(0), "best": OneOf(None, Real())}],
    "scores": {},
    **dict.fromkeys(MEASURED, OneOf(None, {})),
    "imported": OneOf(None, {}),
    "package": str,
}
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Intensities:
    """Of all training images: percentiles, {"2.0": [one per channel], ...}, and the extremes."""

    percentiles: Mapping[str, list[float]] = field(default_factory=dict)
    minimum: list[float] = field(default_factory=list)
    maximum: list[float] = field(default_factory=list)

    @cached_property
    def normalization(self) -> Normalization | None:
        """By percentiles 2 and 99.8; by the extremes for images that are nearly empty. None where it is not known."""
        low, high = (self.percentiles.get(name, []) for name in USUAL)
        if any(bottom >= top for bottom, top in zip(low, high, strict=False)):
            low, high = self.minimum, self.maximum
        try:
            return Normalization(tuple(low), tuple(high))
        except ValueError:  # not stored, or constant
            return None


@dataclass(frozen=True)
class Facts:
    """Plain values, as in the model's folder; what was measured after training also as objects."""

    low: Intensities | None = None  # of the training images
    high: Intensities | None = None
    voxel_size: list[float] | None = None  # um, along the axes that the network is given
    time_step: float | None = None  # s
    training: Mapping[str, Any] = field(default_factory=dict)  # settings, "data", and "finished_members"
    history: tuple[dict[str, Any], ...] = ()  # one row for each round of training, as in log.csv
    scores: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)  # by `training.aside`, under the names MEASURED
    imported: Mapping[str, Any] = field(default_factory=dict)  # where a model of another program came from
    package: str = ""  # its file, of a model that was packed

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Facts:
        """Raises ModelError for values that are not of the right form, or of a newer version."""
        if said := wrong(stored, FORM, "facts"):
            raise ModelError(f"What the model remembers is damaged: {said}.")
        if stored.get("version", 1) > VERSION:
            raise ModelError("What the model remembers was written by a newer veriscope. Update veriscope to use it.")
        known = _known(cls, stored)
        for which in {"low", "high"} & set(known):
            known[which] = Intensities(**_known(Intensities, known[which]))
        if None in known.get("voxel_size", ()):
            del known["voxel_size"]
        measured = {name: stored[name] for name in MEASURED if name in stored}
        return cls(**{**known, "history": tuple(known.get("history", ())), "measured": measured})

    def to_json(self) -> dict[str, Any]:
        ranges = {name: None if one is None else asdict(one) for name, one in (("low", self.low), ("high", self.high))}
        plain = {name: getattr(self, name) for name in ("voxel_size", "time_step", "training", "scores")}
        later = {name: getattr(self, name) for name in ("imported", "package") if getattr(self, name)}
        return {"version": VERSION, **ranges, **plain, **self.measured, "history": list(self.history), **later}

    def change(self, **changes: Any) -> Facts:
        """These facts with some of them, as in JSON, replaced."""
        return Facts.from_json({**self.to_json(), **changes})

    def __getitem__(self, name: str) -> Any:
        """As in JSON: ``facts["training"]``, ``facts["low"]["percentiles"]``. Raises KeyError."""
        return self.to_json()[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.to_json().get(name, default)

    @property
    def finished(self) -> int:
        """Members that are trained to their end."""
        return int(self.training.get("finished_members", 0))

    @cached_property
    def calibration(self) -> Calibration | None:
        """None where it was not measured, with too few pixels, or by another version; so are the next two."""
        return self._read("calibration", Calibration.from_json)

    @cached_property
    def expectation(self) -> Expectation | None:
        return self._read("expected", Expectation.from_json)

    @cached_property
    def familiar(self) -> Familiar | None:
        return self._read("familiar", Familiar.from_json)

    @property
    def calibration_errors(self) -> dict[str, tuple[float, float]]:
        """Expected calibration error as predicted and calibrated, by the half-width of the interval."""
        return self._read("calibration", lambda one: {eps: (a, b) for eps, (a, b) in one["ece"].items()}) or {}

    def _read(self, name: str, read: Callable[[Any], Kind]) -> Kind | None:
        try:
            return read(self.measured[name])
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


def _known(kind: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `kind` that are stored."""
    return {one.name: stored[one.name] for one in fields(kind) if stored.get(one.name) is not None}
