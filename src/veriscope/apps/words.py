"""From what was typed to values, and from values to words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast

from veriscope import wording
from veriscope.errors import VeriscopeError

if TYPE_CHECKING:
    from veriscope.networks.facts import Facts
    from veriscope.networks.recipe import Recipe
    from veriscope.noise import Noise


times = wording.lengths


def sizes(option: str, text: str | None) -> tuple[int, ...] | None:
    """Lengths in pixels: "64" or "16,64,64" (also 16x64x64)."""
    if text is None:
        return None
    parts = text.lower().replace("x", ",").split(",")
    try:
        found = tuple(int(part) for part in parts)
    except ValueError:
        found = ()
    if not found or not all(1 <= length <= 2**31 for length in found):
        raise VeriscopeError(f"{option} {text} is not a size in pixels. Give positive whole numbers such as 16,64,64.")
    return found


def lengths(option: str, text: str | None) -> tuple[float, ...] | None:
    """Lengths in um: "0.1" or "0.3,0.1,0.1"."""
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(1e-6 <= length <= 1e6 for length in found):
        raise VeriscopeError(f"{option} {text} is not a size in um. Give positive numbers such as 0.3,0.1,0.1.")
    return found


def way_to_normalize(word: str) -> Literal["image", "frame", "model"]:
    if word not in ("image", "frame", "model"):
        raise VeriscopeError(f"--normalize {word} is not known. Choose image, frame or model.")
    return cast('Literal["image", "frame", "model"]', word)


def number(value: object) -> str:
    """A score for people: four digits; lists one by one; names as they are."""
    if isinstance(value, (list, tuple)):
        return ", ".join(number(one) for one in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def axes_of_pairs(text: str | None) -> str | tuple[str, str] | None:
    """Axes of low and high images: one word for both, or two such as "ZYX,YX"."""
    if text is None or "," not in text:
        return text
    parts = tuple(part.strip() for part in text.split(","))
    if len(parts) != 2 or not all(parts):
        raise VeriscopeError(f"--axes {text} is not understood. Give one word for both, or two such as ZYX,YX.")
    return parts[0], parts[1]


def noise(text: str | None) -> Noise | None:
    """``gain=2,read=5,offset=100``, all in grey values."""
    if text is None:
        return None
    from veriscope.noise import Noise

    found = _named("--noise", text, ("gain", "read", "offset"), "--noise gain=2,read=5,offset=100")
    return Noise(found.get("gain", 0.0), found.get("offset", 0.0), found.get("read", 0.0))


def factors(text: str | None) -> dict[str, float] | None:
    """``Z=4`` or ``Y=2,X=2``: how many times as many pixels an image has."""
    if text is None:
        return None
    found = _named("--factor", text.upper(), tuple("ZYX"), "--factor Z=4")
    if not found or any(not 1 <= value < float("inf") for value in found.values()):
        raise VeriscopeError(f"--factor {text} is not possible. Give numbers from 1, such as --factor Z=4.")
    return found


def _named(option: str, text: str, names: tuple[str, ...], example: str) -> dict[str, float]:
    """A number for each name: ``a=1,b=2``."""
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (word.strip() for word in part.partition("="))
        try:
            found[next(known for known in names if known.lower() == name.lower())] = number = float(value)
            if not abs(number) <= 1e9:
                raise ValueError(value)
        except (StopIteration, ValueError):
            raise VeriscopeError(
                f"{option} {text} is not understood at '{part}'. Give {', '.join(names)} a number each: {example}."
            ) from None
    return found


def task(recipe: Recipe) -> dict[str, str]:
    """What is done to an image beside what its network says; nothing for most."""
    finer = ", ".join(f"{letter} {factor:g} times" for letter, factor in recipe.finer.items())
    told = [f"interpolates {finer}"] if finer else []
    told += ["restores all xz and yz slices"] if recipe.isotropic else []
    return {"does": ", ".join(told)} if told else {}


def network(recipe: Recipe) -> str:
    """What kind of network it is."""
    if recipe.foreign is not None:
        return "graph of others (ONNX)"
    if recipe.projects:
        named = recipe.projection if isinstance(recipe.projection, str) else f"depth {recipe.projection.depth}"
        return f"surface finder ({named}) and {len(recipe.axes_out)}D U-Net"
    return f"{len(recipe.axes)}D U-Net"


def short_names(paths: Sequence[str]) -> list[str]:
    """The last part of every path, with as many of those before it as it takes to tell them apart."""
    split = [[part for part in path.replace("\\", "/").split("/") if part not in ("", ".")] or [path] for path in paths]
    for count in range(1, max(map(len, split), default=1) + 1):
        names = ["/".join(parts[-count:]) for parts in split]
        if len(set(names)) == len(set(paths)):
            return names
    return list(paths)


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def calibration(facts: Facts) -> dict[str, str]:
    """How often predictions came true on the images kept aside, for people; nothing where that is not known."""
    if "calibration" not in facts.measured:
        return {}
    if facts.calibration is None:
        return {"measured": "no: too few pixels were kept aside, so predictions stay as the networks make them"}
    rows = {"measured": f"on {facts.calibration.pixels:,} pixels of {facts.calibration.images} images"}
    for eps, (before, after) in facts.calibration_errors.items():
        rows[f"error at {eps}"] = f"{100 * before:.1f} % as predicted, {100 * after:.1f} % calibrated"
    return rows


def familiar(facts: Facts) -> dict[str, str]:
    """What the model remembers of its training images, for people; nothing where it remembers nothing."""
    found = facts.familiar
    if found is None:
        return {}
    rows = {"knows": f"{found.count:,} windows of {times(found.window)} pixels by {len(found.names)} figures"}
    if found.disagreement is not None:
        rows["disagreement"] = f"99 % of the pixels kept aside below {found.disagreement[99]:.3f}"
    return rows
