"""What a file states of an image besides pixels, axes and scale: read, carried through unchanged, written back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace


@dataclass(frozen=True)
class Channel:
    """What a channel shows, "" where unknown: its name, and its colour as RRGGBB."""

    name: str = ""
    colour: str = ""


@dataclass(frozen=True)
class Carried:
    """Facts of an image that no computation here uses.

    `channels` has one entry for each channel, or none. `position` is where the first voxel of the image lies on the
    stage, by spatial letter: a number and its unit, as the file gives them. `labels` has one entry for each plane.
    """

    channels: tuple[Channel, ...] = ()
    position: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    acquired: str = ""  # time of acquisition, ISO 8601
    description: str = ""
    labels: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self))

    @property
    def channel_names(self) -> list[str]:
        return [channel.name for channel in self.channels if channel.name]

    def fitting(self, channels: int, planes: int) -> Carried:
        """The same without what belongs to other numbers of channels or planes."""
        kept = self.channels if len(self.channels) == channels else ()
        labels = self.labels if len(self.labels) == planes else ()
        unchanged = (kept, labels) == (self.channels, self.labels)
        return self if unchanged else replace(self, channels=kept, labels=labels)

    def of(self, channels: slice | None, cut: Iterable[str]) -> Carried:
        """Of a part of the image: some of its channels (None: all), without the position along the axes `cut`."""
        position = {letter: place for letter, place in self.position.items() if letter not in set(cut)}
        return replace(self, channels=self.channels[channels or slice(None)], position=position)

    def describe(self) -> dict[str, str]:
        """What a person wants to know."""
        known = {}
        if self.channel_names:
            known["channels"] = ", ".join(channel.name or "?" for channel in self.channels)
        if self.position:
            places = (f"{letter} {value:g} {unit}".rstrip() for letter, (value, unit) in sorted(self.position.items()))
            known["position"] = ", ".join(places)
        if self.acquired:
            known["acquired"] = self.acquired
        return known


NOTHING = Carried()


def named(names: Sequence[str], colours: Sequence[str] = ()) -> tuple[Channel, ...]:
    """Channels called `names`; none where nothing is stated of any of them."""
    known = zip(names, [*colours, *[""] * len(names)], strict=False)
    channels = tuple(Channel(name.strip(), colour) for name, colour in known)
    return channels if any(channel.name or channel.colour for channel in channels) else ()


def encodable(text: str) -> str:
    """`text` without what UTF-8 and XML cannot hold: halves of characters, such as names in another encoding give, and
    control characters. Each becomes "?".
    """
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c in "\t\n\r" or (c >= " " and c not in "\x7f\ufffe\uffff") else "?" for c in whole)
