"""What stands in for the images of the paper (Supp. Table 2): structures, optics and camera of every experiment.

Sizes, light levels, apertures and factors of subsampling are those of the SI where it states them (METHODS: planaria
NA 1.05 and levels of SI Table 1, tribolium of SI Table 3, flywing of SI Table 5, drosophila 0.39 / 1.96 um, retina and
liver subsampled 10.2 and 8 times, INS-1 0.08 um and NA 1.42, HeLa NA 1.46); the rest is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.images.image import Image
from veriscope.simulate.camera import Camera, to_integers
from veriscope.simulate.epithelium import Epithelium
from veriscope.simulate.granules import Granules
from veriscope.simulate.network import Network
from veriscope.simulate.nuclei import Nuclei, Shell
from veriscope.simulate.optics import Depth, convolve, subsample
from veriscope.simulate.perlin import Background
from veriscope.simulate.psf import PSF, from_words
from veriscope.simulate.scene import Drawn, Pixels
from veriscope.simulate.tubules import Tubules

TRUTH, INPUT, LABELS, HEIGHT = "GT", "input", "labels", "height"
PHOTONS = (20.0, 500.0)  # SI 2.5


@dataclass(frozen=True)
class Optics:
    """Microscope and tissue between light and camera."""

    psf: str  # in words, as `veriscope.simulate.psf.from_words` reads them
    depth: Depth | None = None  # what the tissue does to light from below
    background: Background | None = None  # light that belongs to no structure

    def on(self, voxel_size: Sequence[float]) -> PSF:
        """The PSF on such voxels (um, Z Y X)."""
        return from_words(self.psf, tuple(voxel_size))


@dataclass(frozen=True, eq=False)
class Simulated:
    """One field: its images by the folder they belong in, and everything that chance decided."""

    images: dict[str, Image]
    drawn: Drawn


Shape = tuple[int, ...]
Make = Callable[["StandIn", np.random.Generator, Shape, bool], Simulated]


@dataclass(frozen=True)
class StandIn:
    """One experiment: what is imaged, with what, how much of it at which scale."""

    about: str  # what the paper imaged, and what stands in for it
    structure: Any
    voxel_size: tuple[float, ...]  # um; of the truth
    optics: Optics
    camera: Camera  # with all the light there is
    make: Make
    fields: dict[str, tuple[int, Shape, int, Shape]]  # by scale: count and shape for training, then for testing
    levels: tuple[float, ...] = ()  # light of condition_1, condition_2, ... relative to the truth
    subsample: float = 1.0  # planes of the truth for each plane that is imaged
    photons: tuple[float, float] = PHOTONS  # of `enhanced`: each field draws its own, where the truth is 1

    @property
    def conditions(self) -> list[str]:
        return [f"condition_{number}" for number in range(1, len(self.levels) + 1)] or [INPUT]

    def settings(self) -> dict[str, Any]:
        """All settings as plain values."""
        plain = {
            "about": self.about,
            "structure": {"kind": type(self.structure).__name__, **asdict(self.structure)},
            "voxel_size_um": list(self.voxel_size),
            "optics": asdict(self.optics),
            "camera": asdict(self.camera),
            "subsample": self.subsample,
        }
        if self.levels:
            plain["levels"] = dict(zip(self.conditions, self.levels, strict=True))
        return plain


# How a field is imaged


def denoised(stand: StandIn, rng: np.random.Generator, shape: Shape, exact: bool) -> Simulated:
    """Volumes at every light level. Training truths have the noise of full light, those of tests (`exact`) none."""
    drawn, scene, seen = _drawn(stand, rng, shape)
    if stand.optics.depth is not None:
        seen = stand.optics.depth.apply(seen, stand.voxel_size)
    images = _at_levels(stand, rng, drawn, scene.light, seen, seen, exact)
    return Simulated(images | ({} if scene.labels is None else {LABELS: scene.labels}), drawn)


def projected(stand: StandIn, rng: np.random.Generator, shape: Shape, exact: bool) -> Simulated:
    """Stacks of a curved epithelium at every light level, and the membranes in their own plane as truth."""
    drawn, scene, seen = _drawn(stand, rng, shape)
    flat = convolve(np.asarray(scene.target), stand.optics.on(stand.voxel_size))
    images = _at_levels(stand, rng, drawn, scene.light, seen, flat, exact)
    return Simulated({**images, HEIGHT: scene.height, LABELS: scene.labels}, drawn)


def anisotropic(stand: StandIn, rng: np.random.Generator, shape: Shape, exact: bool) -> Simulated:
    """One stack with few planes, blurred along Z; the truth is as sharp along Z as within the planes."""
    drawn, scene, seen = _drawn(stand, rng, shape)
    drawn["camera"] = {INPUT: stand.camera.draw(rng)}
    few = subsample(scene.light.with_array(seen), "Z", stand.subsample)
    images = {INPUT: few.with_array(to_integers(stand.camera.apply(np.asarray(few), drawn["camera"][INPUT])))}
    if exact:
        even = _evenly_blurred(scene.light, stand.optics.on(stand.voxel_size))
        images |= {TRUTH: scene.light.with_array(to_integers(stand.camera.expected(even))), LABELS: scene.labels}
    return Simulated(images, drawn)


def enhanced(stand: StandIn, rng: np.random.Generator, shape: Shape, exact: bool) -> Simulated:
    """Fine structures (truth: their light) and what a microscope makes of them, each field with its own photons."""
    drawn: Drawn = {"structure": stand.structure.draw(rng, shape, stand.voxel_size)}
    scene = stand.structure.apply(drawn["structure"])
    drawn["photons"] = float(np.round(np.exp(rng.uniform(*np.log(stand.photons))), 1))
    seen = blurred_light(stand, rng, drawn, np.asarray(scene.light))
    camera = stand.camera.dimmed(drawn["photons"] / stand.camera.photons)
    drawn["camera"] = {INPUT: camera.draw(rng)}
    low = to_integers(camera.apply(seen, drawn["camera"][INPUT]))
    return Simulated({TRUTH: scene.light, INPUT: scene.light.with_array(low)}, drawn)


def _drawn(stand: StandIn, rng: np.random.Generator, shape: Shape) -> tuple[Drawn, Any, Pixels]:
    """What chance decides, the structure, and its light through the microscope."""
    drawn: Drawn = {"structure": stand.structure.draw(rng, shape, stand.voxel_size)}
    scene = stand.structure.apply(drawn["structure"])
    return drawn, scene, blurred_light(stand, rng, drawn, np.asarray(scene.light))


def blurred_light(stand: StandIn, rng: np.random.Generator, drawn: Drawn, light: NDArray[Any]) -> Pixels:
    """Light of a volume or a plane, with a background of its own that is noted in `drawn`, through the microscope."""
    if stand.optics.background is not None:
        drawn["background"] = stand.optics.background.draw(rng, light.shape, stand.voxel_size)
        light = light + np.asarray(stand.optics.background.apply(drawn["background"]).light)
    return convolve(light, stand.optics.on((stand.voxel_size[0], *stand.voxel_size)[-3:]))  # Z Y X, also of a plane


def _at_levels(
    stand: StandIn, rng: np.random.Generator, drawn: Drawn, like: Image, seen: Pixels, truth: Pixels, exact: bool
) -> dict[str, Image]:
    """`seen` by the camera at every level of light, and `truth` with all of it: as expected, or as counted."""
    cameras = {name: stand.camera.dimmed(level) for name, level in zip(stand.conditions, stand.levels, strict=True)}
    drawn["camera"] = {name: camera.draw(rng) for name, camera in cameras.items()}
    images = {
        name: like.with_array(to_integers(camera.apply(seen, drawn["camera"][name])))
        for name, camera in cameras.items()
    }
    if exact:
        full = to_integers(stand.camera.expected(truth))
    else:
        drawn["camera"][TRUTH] = stand.camera.draw(rng)
        full = to_integers(stand.camera.apply(truth, drawn["camera"][TRUTH]))
    images[TRUTH] = Image(full, like.axes[-truth.ndim :], stand.voxel_size[-truth.ndim :])
    return images


def _evenly_blurred(light: Image, psf: PSF) -> Pixels:
    """Every axis blurred as the lateral ones are: what a microscope as sharp along Z would see."""
    from scipy.ndimage import gaussian_filter

    sigma = [psf.fwhm()[1] / 2.3548 / step for step in light.full_voxel_size or ()]
    return np.asarray(gaussian_filter(np.asarray(light), [0.0] * (light.ndim - 3) + sigma, mode="reflect"))


# The experiments

_ISOTROPIC = 0.39  # um


def _fine_structures(about: str, structure: Any, na: float, background: Background) -> StandIn:
    return StandIn(
        about,
        structure,
        (0.08, 0.08),
        Optics(f"gaussian:na={na},wavelength=0.52,index=1.515", background=background),
        Camera(photons=200.0),
        enhanced,
        {
            "tiny": (4, (64, 64), 2, (64, 64)),
            "small": (80, (128, 128), 16, (128, 128)),
            "paper": (2000, (128, 128), 100, (256, 256)),
        },
    )


STANDINS: dict[str, StandIn] = {
    "planaria": StandIn(
        "nuclei of Schmidtea mediterranea (RedDot1, spinning disk): crowded nuclei, dimmer and less sharp with depth",
        Nuclei(radius_um=(1.2, 2.4), elongation=(1.0, 1.6), crowding=0.35, brightness=(0.4, 1.4)),
        (1.0, 0.33, 0.33),
        Optics("confocal:na=1.05,wavelength=0.69,excitation=0.64,index=1.40", Depth(40.0, 0.008), Background(0.05, 15)),
        Camera(photons=900.0),
        denoised,
        {
            "tiny": (2, (12, 48, 48), 1, (8, 32, 32)),
            "small": (4, (32, 160, 160), 2, (32, 128, 128)),
            "paper": (10, (80, 1024, 1024), 4, (80, 1024, 1024)),
        },
        levels=(1 / 29, 1 / 58, 1 / 139),
    ),
    "tribolium": StandIn(
        "nuclei of Tribolium castaneum embryos (EFA::nGFP, multi-photon): nuclei on a thin curved sheet above the yolk",
        Nuclei(radius_um=(1.8, 3.2), elongation=(1.0, 1.4), crowding=0.4, mitotic=0.03, shell=Shell()),
        (1.0, 0.39, 0.39),
        Optics("widefield:na=1.0,wavelength=0.46,index=1.33", Depth(80.0, 0.005), Background(0.02, 20.0)),
        Camera(photons=4000.0),
        denoised,
        {
            "tiny": (2, (12, 48, 48), 1, (8, 32, 32)),
            "small": (4, (32, 160, 160), 2, (32, 128, 128)),
            "paper": (16, (48, 700, 700), 6, (48, 700, 700)),
        },
        levels=(1 / 200, 1 / 100, 1 / 40),
    ),
    "flywing": StandIn(
        "wing epithelium of Drosophila (E-cadherin::GFP, spinning disk): membranes on a curved surface under debris",
        Epithelium(),
        (1.0, 0.25, 0.25),
        Optics("gaussian:na=1.3,wavelength=0.52,index=1.40", background=Background(0.03, 10.0)),
        Camera(photons=240.0),
        projected,
        {
            "tiny": (3, (12, 64, 64), 1, (12, 64, 64)),
            "small": (10, (50, 192, 192), 3, (50, 192, 192)),
            "paper": (180, (50, 520, 692), 26, (50, 520, 692)),
        },
        levels=(1 / 20, 1 / 13, 1 / 8),
    ),
    "drosophila": StandIn(
        "nuclei of Drosophila embryos (histone, light sheet): dense nuclei, planes five pixels apart",
        Nuclei(radius_um=(2.0, 3.1), elongation=(1.0, 1.5), crowding=0.4, texture=0.3),
        (_ISOTROPIC, _ISOTROPIC, _ISOTROPIC),
        Optics("gaussian:na=0.8,wavelength=0.52,index=1.33"),
        Camera(photons=400.0),
        anisotropic,
        {
            "tiny": (1, (40, 48, 48), 1, (40, 48, 48)),
            "small": (2, (151, 192, 192), 1, (151, 144, 144)),
            "paper": (2, (503, 1350, 532), 1, (503, 532, 532)),
        },
        subsample=1.96 / _ISOTROPIC,
    ),
    "retina": StandIn(
        "zebrafish retina (DRAQ5 nuclei, LAP2B envelopes): elongated nuclei and envelopes, planes 10.2 pixels apart",
        Nuclei((1.8, 2.6), (1.5, 2.2), 0.4, aligned=0.7, texture=0.25, envelope_um=0.25),
        (0.2, 0.2, 0.2),
        Optics("gaussian:na=0.9,wavelength=0.60,index=1.33"),
        Camera(photons=400.0),
        anisotropic,
        {
            "tiny": (1, (61, 40, 40), 1, (61, 40, 40)),
            "small": (2, (163, 176, 176), 1, (163, 144, 144)),
            "paper": (2, (510, 800, 800), 1, (510, 512, 512)),
        },
        subsample=10.2,
    ),
    "liver": StandIn(
        "mouse liver (DAPI nuclei, actin): large nuclei and the net of canaliculi between cells, planes 8 pixels apart",
        Network(Nuclei(radius_um=(2.8, 3.8), elongation=(1.0, 1.2), crowding=0.1, gap_um=4.5, mitotic=0.0)),
        (0.3, 0.3, 0.3),
        Optics("gaussian:na=0.9,wavelength=0.52,index=1.40"),
        Camera(photons=400.0),
        anisotropic,
        {
            "tiny": (1, (48, 48, 48), 1, (48, 48, 48)),
            "small": (2, (160, 192, 192), 1, (160, 144, 144)),
            "paper": (2, (400, 752, 752), 1, (400, 512, 512)),
        },
        subsample=8.0,
    ),
    "ins1-tubules": _fine_structures(
        "microtubules of INS-1 cells (SiR-tubulin): filaments thinner than the microscope resolves",
        Tubules(),
        1.42,
        Background(0.15, 2.0),
    ),
    "ins1-granules": _fine_structures(
        "secretory granules of INS-1 cells (pEG-hIns-SNAP): small blobs, many of them touching in the blurred image",
        Granules(),
        1.42,
        Background(0.15, 2.0),
    ),
    "hela": _fine_structures(
        "microtubules of HeLa cells (GFP-tubulin): a denser net of filaments",
        Tubules(density=(0.3, 0.9)),
        1.46,
        Background(0.25, 3.0),
    ),
}
SCALES = ("tiny", "small", "paper")
