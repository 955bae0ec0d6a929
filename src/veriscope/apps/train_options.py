"""Groups of options of veriscope train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from veriscope.apps.options import ONE_OF, option
from veriscope.errors import TrainingError
from veriscope.wording import listed

if TYPE_CHECKING:
    from veriscope.networks.model import Ensemble

USUAL_MINUTES = 20.0
OWN = (None, "fast")  # presets with the training of this package, not that of the paper


@dataclass(frozen=True)
class Length:
    members: int | None = option(None, "Networks in the ensemble. By default 5, with --start as many as it has.")
    minutes: float | None = option(
        None,
        "Time for the whole ensemble; everything is planned to fit it. 20 if neither this nor --epochs is given "
        "(presets: the epochs of the paper).",
    )
    epochs: int | None = option(None, "Passes over the patches instead of a time.")

    def settings(self, preset: str | None) -> dict[str, Any]:
        """As keywords of `train`. Raises TrainingError for two lengths."""
        if self.minutes is not None and self.epochs is not None:
            raise TrainingError("--minutes and --epochs both say how long to train. Give one of them.")
        usual = USUAL_MINUTES if self.epochs is None and preset in OWN else None
        minutes = usual if self.minutes is None else self.minutes
        return {"members": self.members, "minutes": minutes, "epochs": self.epochs}


@dataclass(frozen=True)
class Network:
    PANEL: ClassVar[str] = "The network"
    preset: str | None = option(
        None,
        "fast: a smaller network, for large images. Network and training of the paper: planaria, tribolium, ins1, "
        "hela, flywing (projects); drosophila, retina, liver (for --task isotropic).",
    )
    depth: int | None = option(None, "Times the image is halved.")
    base: int | None = option(None, "Channels at the top level.")
    kernel: int | None = option(None, "Width of the convolutions, odd.")
    stem: int | None = option(None, "Fold so many x so many pixels into channels: faster, a little less fine.")
    start: Path | None = option(
        None,
        "Model to start from, with its layers, at a third of the learning rate: a folder of veriscope or csbdeep.",
        "MODEL",
    )

    def model(self) -> Ensemble | None:
        """The one to start from. Raises TrainingError for options that it decides, ModelError."""
        if self.start is None:
            return None
        if decided := [f"--{name}" for name, value in vars(self).items() if name != "start" and value is not None]:
            raise TrainingError(f"--start decides the layers of the network. Remove {listed(decided)}, or --start.")
        from veriscope.sharing.opening import load

        return load(self.start)


@dataclass(frozen=True)
class Training:
    PANEL: ClassVar[str] = "The training"
    loss: Literal["laplace", "mae", "mse"] = option(
        "laplace",
        "laplace predicts an uncertainty for each pixel too; mae and mse the image only.",
        advice=ONE_OF,
        error=TrainingError,
    )
    batch: int | None = option(None, "Patches per step.")
    watch: bool = option(False, "Write a page of losses and check patches beside the model, which refreshes itself.")
    log: Literal["tensorboard"] | None = option(
        None,
        "Write losses and check patches for TensorBoard beside the model.",
        advice="Write --log tensorboard, or remove it.",
        error=TrainingError,
    )
    learning_rate: float | None = option(None, "Highest learning rate.")


@dataclass(frozen=True)
class Patches:
    PANEL: ClassVar[str] = "The patches"
    patch: str | None = option(None, "Such as 128,128 or 16,64,64.", "SIZE")
    per_image: int = option(32, "Patches from each image in one epoch.")
    foreground: float = option(
        0.4, "A patch counts when its truth exceeds this part of the brightest signal; 0: patches from everywhere."
    )
    normalize: Literal["matched", "random", "fixed"] | None = option(
        None,
        "What becomes 0 and 1. matched (usual): percentiles 2 and 99.8 of LOW, with HIGH brought to its grey values. "
        "random (usual for presets, projections, and where HIGH has other channels): percentiles of each, drawn for "
        "each patch. fixed: 2 and 99.8 of each.",
        advice=ONE_OF,
        error=TrainingError,
    )


@dataclass(frozen=True)
class Axial:
    """What the microscope does along Z, and how much finer HIGH is."""

    PANEL: ClassVar[str] = "Tasks isotropic, upsample and noisy"
    psf: str | None = option(
        None,
        "How the microscope blurs: gaussian:na=1.1, widefield:na=0.8, confocal:na=1.05, a bead image or none.",
        "PSF",
    )
    subsample: float | None = option(
        None, "Distance of planes in pixels, such as 5 or 10.2; by default from the voxel size.", "N"
    )
    noise: str | None = option(
        None, "Noise to add, in grey values: gain=2,read=5,offset=100. By default none.", "NOISE"
    )
    factor: str | None = option(
        None,
        "For --task upsample: how many times as many pixels HIGH has, Z=4 or Y=2,X=2; by default from the sizes.",
        "FACTORS",
    )

    neighbours: str | None = option(
        None,
        "For --task noisy: learn from the next time point or plane, where hardly anything changes between them.",
        "T|Z",
    )
    stripes: str | None = option(
        None, "For --task noisy: the axis along which noise runs, as in lines of a scanner or camera.", "X|Y"
    )

    def check(self, task: str, normalize: str | None) -> None:
        """Raise TrainingError for options of another task."""
        of_tasks = {
            "isotropic": ("psf", "subsample", "noise"),
            "upsample": ("factor",),
            "noisy": ("neighbours", "stripes"),
        }
        for needed, names in of_tasks.items():
            given = listed(f"--{name}" for name in names if getattr(self, name) is not None)
            if given and task != needed:
                raise TrainingError(
                    f"{given} can only be given for --task {needed}. Remove {given}, or add --task {needed}."
                )
        if task in ("isotropic", "noisy") and normalize is not None:
            raise TrainingError(
                f"--normalize is not for --task {task}, where both images of a pair have the same grey values. "
                f"Remove it."
            )
