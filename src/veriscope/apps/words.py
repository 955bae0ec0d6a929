"""From typed text to values, and from values to words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from veriscope.errors import VeriscopeError
from veriscope.noise import Noise
from veriscope.wording import lengths

if TYPE_CHECKING:
    from veriscope.networks.facts import Facts
    from veriscope.networks.recipe import Recipe


def sizes(option: str, text: str | None) -> tuple[int, ...] | None:
    """Lengths in pixels: "64" or "16,64,64" (also 16x64x64)."""
    wrong = f"{option} {text} is not a size in pixels. Give positive whole numbers such as 16,64,64."
    return None if text is None else values(text.lower().replace("x", ","), 1, 2**31, wrong, int)


def values(text: str, least: float, most: float, wrong: str, kind: Callable[[str], Any] = float) -> tuple[Any, ...]:
    """The numbers in "0.3,0.1,0.1". Raises VeriscopeError(wrong) unless all are from `least` to `most`."""
    try:
        numbers = tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise VeriscopeError(wrong) from None
    if not all(least <= number <= most for number in numbers):
        raise VeriscopeError(wrong)
    return numbers


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
    """What a model does to an image besides running its network; nothing for most."""
    finer = ", ".join(f"{letter} {factor:g} times" for letter, factor in recipe.finer.items())
    steps = [f"interpolates {finer}"] * bool(finer) + ["restores all xz and yz slices"] * recipe.isotropic
    return {"does": ", ".join(steps)} if steps else {}


def network(recipe: Recipe) -> str:
    if recipe.foreign is not None:
        return "graph from another program (ONNX)"
    if recipe.projects:
        named = recipe.projection if isinstance(recipe.projection, str) else f"depth {recipe.projection.depth}"
        return f"surface finder ({named}) and {len(recipe.axes_out)}D U-Net"
    return f"{len(recipe.axes)}D U-Net"


def calibration(facts: Facts) -> dict[str, str]:
    """How often predictions were right on the images kept aside; nothing where that is not known."""
    if "calibration" not in facts.measured:
        return {}
    if facts.calibration is None:
        return {"measured": "no: too few pixels were kept aside, so predictions are those of the networks"}
    rows = {"measured": f"on {facts.calibration.pixels:,} pixels of {facts.calibration.images} images"}
    for eps, (before, after) in facts.calibration_errors.items():
        rows[f"error at {eps}"] = f"{100 * before:.1f} % as predicted, {100 * after:.1f} % calibrated"
    return rows


def noisy(facts: Facts) -> str | None:
    """What cannot be known of a model that learned from noisy images alone; None for others."""
    how = facts.training.get("data", {}).get("noisy") if isinstance(facts.training.get("data"), dict) else None
    if how is None:
        return None
    return (
        f"this model learned from noisy images alone ({how}). Its scales and the error to expect were measured on its "
        f"own restorations under noise again. Detail that it lost is not in them, so the true error can be larger."
    )


def familiar(facts: Facts) -> dict[str, str]:
    """What the model knows of its training images; nothing where it knows nothing."""
    known = facts.familiar
    if known is None:
        return {}
    rows = {"knows": f"{known.count:,} windows of {lengths(known.window)} pixels by {len(known.names)} figures"}
    if known.disagreement is not None:
        rows["disagreement"] = f"99 % of the pixels kept aside below {known.disagreement[99]:.3f}"
    return rows
