"""From words to methods: "nlm", "max", and several one after the other, "max+nlm"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from veriscope.classical import denoise, project
from veriscope.classical.method import Method, Task
from veriscope.errors import DataError

WORDS: dict[Task, str] = {
    "restore": "denoises images",
    "project": "projects stacks to planes",
    "isotropic": "makes stacks isotropic",
}
BEST_PROJECTIONS = ("premosa", "max")  # what is denoised after projecting (SI, Supp. Fig. 10), the first there is
DENOISER = "nlm"
INTERPOLATION = "cubic"  # needs no PSF
ANSCOMBE = "gat"  # in front of a denoiser: the noise is made alike everywhere first


def for_task(task: Task, psf: Any = None, factor: float | None = None, background: float = 0.0) -> tuple[Method, ...]:
    """Every method for a task, whether its library is installed or not (see `Method.check`).

    Projections include one that is denoised afterwards, as in the paper. Methods for isotropic stacks need `psf`,
    `factor`, how much finer Z has become, and `background`, the grey value of pixels without light; without a PSF some
    are missing.
    """
    if task == "restore":
        return denoise.METHODS
    if task == "project":
        known = {method.name: method for method in (*denoise.METHODS, *project.METHODS)}
        first = next(known[name] for name in BEST_PROJECTIONS if name in known)
        return (*project.METHODS, chain(first, known[DENOISER]))
    from veriscope.classical import deconvolve

    methods = deconvolve.methods(psf, factor or 1.0, background)
    return methods if psf is not None else tuple(method for method in methods if method.name == INTERPOLATION)


def from_words(words: str, task: Task, psf: Any = None, factor: float | None = None, background: float = 0.0) -> Method:
    """The method that `words` name: "nlm", "gat+nlm" (within Anscombe's transform), "premosa+nlm" (one by one).

    Raises DataError, listing the methods, for an unknown word and for one that belongs to another task.
    """
    parts = [part.strip().lower() for part in words.split("+")]
    known = for_task(task, psf, factor, background)
    if len(parts) == 1 or "+".join(parts) in {method.name for method in known}:
        return _known("+".join(parts), task, known)
    if parts[0] == ANSCOMBE and task == "restore":
        from veriscope.classical.anscombe import with_anscombe

        return with_anscombe(from_words("+".join(parts[1:]), "restore"))
    if task == "restore":
        raise DataError(f"'{words}' names several denoisers. Choose one of them, or {ANSCOMBE}+{DENOISER}.")
    first, then = _known(parts[0], task, known), from_words("+".join(parts[1:]), "restore")
    return chain(first, then)


def several(
    words: str, task: Task, psf: Any = None, factor: float | None = None, background: float = 0.0
) -> tuple[Method, ...]:
    """The methods of a list such as "nlm,tv", each once."""
    names = list(dict.fromkeys(part.strip() for part in words.split(",") if part.strip()))
    if not names:
        raise DataError(f"'{words}' names no method. Choose from {_names(for_task(task, psf, factor))}.")
    return tuple(from_words(name, task, psf, factor, background) for name in names)


def installed(methods: Sequence[Method]) -> tuple[tuple[Method, ...], dict[str, str]]:
    """Those of `methods` that can run, and for the names of the others what is missing."""
    able, missing = [], {}
    for method in methods:
        try:
            method.check()
        except DataError as problem:
            missing[method.name] = str(problem)
        else:
            able.append(method)
    return tuple(able), missing


def chain(first: Method, then: Method) -> Method:
    """`then` on what `first` makes. It is tuned as `then`, and credited as both."""
    return replace(
        then,
        name=f"{first.name}+{then.name}",
        title=f"{first.title}, {then.title}",
        task=first.task,
        before=first if then.before is None else chain(first, then.before),
    )


def _known(word: str, task: Task, known: Sequence[Method]) -> Method:
    for method in known:
        if method.name == word:
            return method
    other = next((home for home in WORDS if home != task and word in {m.name for m in for_task(home)}), None)
    if other is not None:
        needs = f"but this needs a method that {WORDS[task]}"
        raise DataError(f"'{word}' {WORDS[other]}, {needs}. Choose from {_names(known)}.")
    more = " More come with a PSF (--psf)." if task == "isotropic" else ""
    raise DataError(f"There is no method '{word}' that {WORDS[task]}. Choose from {_names(known)}.{more}")


def _names(methods: Sequence[Method]) -> str:
    return ", ".join(method.name for method in methods) or "none"
