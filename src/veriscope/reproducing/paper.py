"""What the paper reports for its experiments, to print beside what we measure.

Weigert et al., Nature Methods 2018, Supplementary Information: Supp. Tables 2, 4 and 6, Supp. Figs. 15 and 18. The
paper's images are real ones, ours are simulated stand-ins unless its data are given: only differences between methods
can be compared, never the figures themselves. The window and the range of its SSIM are not known.
"""

from __future__ import annotations

from dataclasses import dataclass

INPUT, NETWORK = "input", "network"
NLM = "non-local means"


@dataclass(frozen=True)
class Figure:
    """One entry of the paper's tables; None where it reports nothing."""

    nrmse: float | None = None
    ssim: float | None = None
    isotropy: tuple[float, float] | None = None  # Phi of xz and yz slices


def _rows(*triples: tuple[float, ...]) -> dict[str, dict[str, Figure]]:
    """Of condition 1, 2, ...: input, non-local means and network, each NRMSE and SSIM."""
    names = (INPUT, NLM, NETWORK)
    return {
        f"condition_{number}": {name: Figure(six[2 * at], six[2 * at + 1]) for at, name in enumerate(names)}
        for number, six in enumerate(triples, start=1)
    }


FIGURES: dict[str, dict[str, dict[str, Figure]]] = {
    "planaria": _rows(
        (0.0838, 0.212, 0.0513, 0.543, 0.0377, 0.708),
        (0.0882, 0.171, 0.0629, 0.402, 0.0394, 0.708),
        (0.0910, 0.144, 0.0830, 0.222, 0.0478, 0.610),
    ),
    "tribolium": _rows(
        (0.0956, 0.170, 0.0519, 0.464, 0.0330, 0.883),
        (0.0891, 0.229, 0.0385, 0.716, 0.0275, 0.907),
        (0.0763, 0.366, 0.0326, 0.844, 0.0236, 0.922),
    ),
    "flywing": _rows(  # the paper's input is projected by PreMosa, ours by the maximum
        (0.1416, 0.093, 0.1169, 0.256, 0.0799, 0.570),
        (0.1079, 0.356, 0.0745, 0.567, 0.0691, 0.623),
        (0.1235, 0.236, 0.0883, 0.462, 0.0733, 0.613),
    ),
    "drosophila": {"input": {INPUT: Figure(isotropy=(0.66, 0.72)), NETWORK: Figure(isotropy=(0.99, 0.97))}},
}


def figure(experiment: str, condition: str, method: str) -> Figure:
    """What the paper reports; an empty Figure where it reports nothing."""
    return FIGURES.get(experiment, {}).get(condition, {}).get(method, Figure())
