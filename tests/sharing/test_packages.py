"""Packages of bioimage.io, in: our own come back whole; of others, what is ONNX from image to image restores."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import veriscope as vs
from veriscope.errors import ModelError, TrainingError
from veriscope.images.pairing import Pair
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.sharing import bioimageio, packages
from veriscope.sharing.card import card
from veriscope.training.aside import measured

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

Files = dict[str, bytes]
OWN: dict[str, Any] = {"authors": ["A. Person"], "licence": "CC-BY-4.0"}
each_form = pytest.mark.parametrize("form", ["0.5", "0.4"])


class Their(nn.Module):
    """A network of others: two convolutions around a pooling: step 2, reach 4 (2 + 1 for the pooled pixel + 1)."""

    def __init__(self, dimensions: int = 2, channels: int = 1) -> None:
        super().__init__()
        torch.manual_seed(3)
        kind = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.first, self.last = kind(channels, 4, 5, padding=2), kind(4, channels, 3, padding=1)
        self.pool = nn.MaxPool2d(2) if dimensions == 2 else nn.MaxPool3d(2)
        self.up = nn.Upsample(scale_factor=2.0, mode="nearest")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(self.up(self.pool(torch.relu(self.first(image)))))
        return found + image


class Whole(nn.Module):
    """A network that looks at the whole image."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image - image.mean((2, 3), keepdim=True)


def as_onnx(network: nn.Module, dimensions: int = 2, channels: int = 1) -> bytes:
    import warnings

    names = dict(enumerate("zyx"[-dimensions:], start=2))
    written: Any = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), (torch.zeros(1, channels, *[16] * dimensions),), written, input_names=["x"],
            output_names=["y"], dynamic_axes={"x": {0: "b", **names}, "y": {0: "b", **names}}, opset_version=15,
            dynamo=False,
        )  # fmt: skip
    contents: bytes = written.getvalue()
    return contents


def describe(form: str, weights: bytes, letters: str = "bcyx", halo: int = 0, channels: int = 1) -> dict[str, Any]:
    """As others write it, in the older form or the newer one."""
    sha = hashlib.sha256(weights).hexdigest()
    told: dict[str, Any] = {
        "type": "model", "name": "theirs", "authors": [{"name": "Somebody"}], "license": "MIT",
        "weights": {"onnx": {"source": "weights.onnx", "sha256": sha, "opset_version": 15}},
    }  # fmt: skip
    if form == "0.4":
        space = len(letters) - 2
        given = {
            "name": "raw", "axes": letters, "data_type": "float32",
            "shape": {"min": [1, channels, *[16] * space], "step": [0, 0, *[2] * space]},
            "preprocessing": [
                {"name": "scale_range", "kwargs": {
                    "mode": "per_sample", "axes": letters[2:], "min_percentile": 1, "max_percentile": 99.8,
                }},
            ],
        }  # fmt: skip
        answered = {
            "name": "out", "axes": letters, "halo": [0, 0, *[halo] * space],
            "shape": {"reference_tensor": "raw", "scale": [1] * len(letters), "offset": [0] * len(letters)},
        }  # fmt: skip
        return {**told, "format_version": "0.4.10", "inputs": [given], "outputs": [answered]}
    names = [f"c{n}" for n in range(channels)]

    def axes(out: bool) -> list[dict[str, Any]]:
        sizes = [
            {"size": {"tensor_id": "raw", "axis_id": letter}, "halo": halo} if out else {"size": {"min": 16, "step": 2}}
            for letter in letters[2:]
        ]
        space = [{"type": "space", "id": n, **size} for n, size in zip(letters[2:], sizes, strict=True)]
        return [{"type": "batch"}, {"type": "channel", "channel_names": names}, *space]

    steps = [
        {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
        {"id": "scale_range", "kwargs": {"axes": list(letters[2:]), "min_percentile": 1, "max_percentile": 99.8}},
    ]
    given = {"id": "raw", "axes": axes(False), "preprocessing": steps}
    return {
        **told, "format_version": "0.5.4", "inputs": [given],
        "outputs": [{"id": "out", "axes": axes(True), "postprocessing": []}],
    }  # fmt: skip


def packed(path: Path, told: Any, files: Files, yaml: bool = False) -> Path:
    if yaml:
        written = pytest.importorskip("yaml").safe_dump(told).encode()
    else:
        written = told if isinstance(told, bytes) else json.dumps(told).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, contents in {"rdf.yaml": written, **files}.items():
            archive.writestr(name, contents)
    return path


@pytest.fixture(scope="module")
def weights() -> bytes:
    return as_onnx(Their())


def normalized(pixels: np.ndarray[Any, Any]) -> tuple[Any, float, float]:
    low, high = np.percentile(pixels, [1, 99.8])
    return (pixels.astype(np.float32) - low) / (high - low), low, high


# Our own


def test_our_own_packages_come_back_whole(any_kind: Ensemble, tmp_path: Path) -> None:
    bioimageio.write(any_kind, tmp_path / "m.zip", **OWN)
    again = vs.load(tmp_path / "m.zip")
    assert again.recipe == any_kind.recipe
    for one, other in zip(again.members, any_kind.members, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


# Those of others


@each_form
@pytest.mark.parametrize("halo", [0, 8])
def test_a_network_of_others_restores_in_tiles_what_it_gives_as_a_whole(
    form: str, halo: int, weights: bytes, apart: Any, tmp_path: Path
) -> None:
    """With the percentiles of the description; a halo that it does not tell is measured."""
    told = describe(form, weights, halo=halo)
    model = packages.read(packed(tmp_path / "m.zip", told, {"weights.onnx": weights}, yaml=True))
    assert model.reach == ((halo, halo) if halo else (4, 4))
    assert model.step == (2, 2)
    pixels = np.random.default_rng(0).integers(100, 900, (70, 90)).astype(np.uint16)
    image, low, high = normalized(pixels)
    with torch.inference_mode():
        expected = Their().eval()(torch.from_numpy(image.astype(np.float32))[None, None])[0, 0].numpy()
        expected = expected * (high - low) + low
    for how in ({}, {"tile": 16}, {"tile": 32, "lazy": True}):
        assert apart(vs.restore(vs.Image(pixels, "YX"), model, **how).mean.array, expected) < 1e-5


def test_small_images_are_continued_to_what_the_network_takes(weights: bytes, tmp_path: Path) -> None:
    model = packages.read(packed(tmp_path / "m.zip", describe("0.5", weights), {"weights.onnx": weights}))
    pixels = np.random.default_rng(0).integers(100, 900, (9, 5)).astype(np.uint16)
    assert vs.restore(vs.Image(pixels, "YX"), model).mean.shape == (9, 5)


@each_form
def test_stacks_and_channels(form: str, apart: Any, tmp_path: Path) -> None:
    contents = as_onnx(Their(3, 2), 3, 2)
    told = describe(form, contents, "bczyx", channels=2)
    model = packages.read(packed(tmp_path / "m.zip", told, {"weights.onnx": contents}))
    pixels = np.random.default_rng(0).integers(100, 900, (2, 20, 24, 28)).astype(np.uint16)
    whole = vs.restore(vs.Image(pixels, "CZYX"), model).mean
    assert whole.axes == "CZYX"
    assert apart(vs.restore(vs.Image(pixels, "CZYX"), model, tile=16).mean.array, whole.array) < 1e-6


def test_it_is_a_model_like_any_other(weights: bytes, apart: Any, tmp_path: Path) -> None:
    """Saved, loaded, judged; not trained further."""
    model = packages.read(packed(tmp_path / "m.zip", describe("0.5", weights), {"weights.onnx": weights}))
    assert model.facts.imported["authors"] == ["Somebody"]
    assert "MIT. Made by Somebody." in card(model, "theirs")
    vs.save(model, tmp_path / "model")
    again = vs.load(tmp_path / "model")
    assert again.recipe == model.recipe
    pixels = np.random.default_rng(0).integers(100, 900, (96, 96)).astype(np.uint16)
    image = vs.Image(pixels, "YX")
    assert apart(vs.restore(image, again).mean.array, vs.restore(image, model).mean.array) < 1e-7
    judged = vs.judge(again, [Pair(image, vs.Image(pixels[::-1].copy(), "YX"), "a")])
    assert np.isfinite(judged.of("restoration").nrmse)
    aside = vs.cut_patches([Pair(image, image, "a")], shape=model.recipe.patch[:1] * 2, foreground=None)
    assert measured(model, aside, None, 2**20) is not None  # what veriscope calibrate measures
    patches = vs.cut_patches([Pair(image, image, "a")], shape=(16, 16), per_image=4)
    with pytest.raises(TrainingError, match="was trained with other"):
        vs.train(model.recipe, patches, patches, members=1, epochs=1, folder=tmp_path / "model", resume=True)
    with pytest.raises(ModelError, match="not be trained further"):
        vs.train(model.recipe, patches, patches, members=1, epochs=1, progress=False)
    with pytest.raises(ModelError, match="not be trained further"):
        build(again.recipe)
    damaged = tmp_path / "model" / "member-0.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="checksum"):
        vs.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("step", "forward"),
    [
        ({"id": "zero_mean_unit_variance", "kwargs": {"axes": ["y", "x"]}}, lambda p: (p.mean(), p.std())),
        ({"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 300.0, "std": 50.0}}, lambda p: (300.0, 50.0)),
        ({"id": "scale_linear", "kwargs": {"gain": 0.01, "offset": -2.0}}, lambda p: (200.0, 100.0)),
        (None, lambda p: (0.0, 1.0)),
    ],
)
def test_images_are_prepared_as_the_description_says(
    step: Any, forward: Callable[[Any], tuple[float, float]], weights: bytes, apart: Any, tmp_path: Path
) -> None:
    told = describe("0.5", weights)
    told["inputs"][0]["preprocessing"] = [] if step is None else [step]
    model = packages.read(packed(tmp_path / "m.zip", told, {"weights.onnx": weights}))
    pixels = np.random.default_rng(0).integers(100, 900, (48, 64)).astype(np.uint16)
    centre, span = forward(pixels.astype(float))
    image = torch.from_numpy(((pixels - centre) / span).astype(np.float32))
    with torch.inference_mode():
        expected = Their().eval()(image[None, None])[0, 0].numpy() * span + centre
    assert apart(vs.restore(vs.Image(pixels, "YX"), model).mean.array, expected) < 1e-5


def test_the_package_is_held_against_its_own_test(weights: bytes, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((1, 1, 48, 48), np.float32)
    image, *_ = normalized(pixels)
    with torch.inference_mode():
        right = Their().eval()(torch.from_numpy(image.astype(np.float32))).numpy()
    for answer, sound in ((right, True), (right[..., ::-1], False)):
        files = {"weights.onnx": weights}
        told = describe("0.5", weights)
        for tensor, name, array in ((told["inputs"][0], "in", pixels), (told["outputs"][0], "out", answer)):
            written = io.BytesIO()
            np.save(written, array)
            files[f"{name}.npy"] = written.getvalue()
            tensor["test_tensor"] = {
                "source": f"{name}.npy", "sha256": hashlib.sha256(written.getvalue()).hexdigest(),
            }  # fmt: skip
        path = packed(tmp_path / f"{sound}.zip", told, files)
        if sound:
            assert packages.read(path).facts.imported["apart_from_its_test"] < 1e-5
        else:
            with pytest.raises(ModelError, match="does not reproduce the package's own result"):
                packages.read(path)


# What cannot be, and what is broken


def changed(**changes: Any) -> Callable[[dict[str, Any], Files], Any]:
    """Entries of the description set anew: inputs__0__axes__2__size=64."""

    def change(told: dict[str, Any], files: Files) -> None:
        for place, value in changes.items():
            *way, last = [int(part) if part.isdigit() else part for part in place.split("__")]
            at: Any = told
            for part in way:
                at = at[part]
            at[last] = value

    return change


def replaced(name: str, make: Callable[[bytes], bytes]) -> Callable[[dict[str, Any], Files], None]:
    def change(told: dict[str, Any], files: Files) -> None:
        files[name] = make(files[name])
        told["weights"]["onnx"]["sha256"] = hashlib.sha256(files[name]).hexdigest()

    return change


def outside(contents: bytes) -> bytes:
    import onnx

    model = onnx.load_from_string(contents)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.append(onnx.StringStringEntryProto(key="location", value="/etc/passwd"))
    made: bytes = model.SerializeToString()
    return made


def global_network(contents: bytes) -> bytes:
    return as_onnx(Whole())


BROKEN: dict[str, tuple[Callable[[dict[str, Any], Files], Any], str]] = {
    "weights were changed": (lambda told, files: files.update({"weights.onnx": b"others"}), "SHA-256"),
    "weights are missing": (lambda told, files: files.pop("weights.onnx"), "is missing"),
    "weights are no ONNX": (replaced("weights.onnx", lambda b: b"\xff" * 100), "not a graph in ONNX|cannot open"),
    "weights are elsewhere": (replaced("weights.onnx", outside), "another file, which is not opened"),
    "it sees the whole image": (replaced("weights.onnx", global_network), "uses the whole image"),
    "only pickles": (changed(weights={"pytorch_state_dict": {"source": "w.pt"}}), "executed or unpickled"),
    "only TorchScript": (changed(weights={"torchscript": {"source": "w.pt"}}), "executed or unpickled"),
    "fixed sizes": (changed(inputs__0__axes__2__size=64), "cannot work in tiles"),
    "odd sizes": (changed(inputs__0__axes__2__size={"min": 17, "step": 2}), "which tiles cannot have"),
    "two inputs": (lambda told, files: told["inputs"].append(told["inputs"][0]), "2 inputs"),
    "no inputs": (changed(inputs=[]), "0 inputs"),
    "time": (changed(inputs__0__axes__2__id="t"), "Its axes are"),
    "a larger result": (changed(outputs__0__axes__2__scale=2.0), "differ in size"),
    "a mask": (changed(outputs__0__postprocessing=[{"id": "sigmoid"}]), "not restored images"),
    "an unknown step": (changed(inputs__0__preprocessing=[{"id": "dance"}]), "dance, which is not known"),
    "no kind of package": (changed(type="dataset"), "does not describe a model"),
    "axes are missing": (lambda told, files: told["inputs"][0].pop("axes"), "unknown form"),
    "no gain": (changed(inputs__0__preprocessing=[{"id": "scale_linear", "kwargs": {"gain": 0}}]), "unknown form"),
    "a gain that is no number": (
        changed(inputs__0__preprocessing=[{"id": "scale_linear", "kwargs": {"gain": float("nan")}}]), "makes no sense",
    ),
    "percentiles upside down": (
        changed(inputs__0__preprocessing=[{"id": "scale_range", "kwargs": {
            "axes": ["y", "x"], "min_percentile": 99, "max_percentile": 1,
        }}]), "makes no sense",
    ),
    "a path out": (changed(weights__onnx__source="../../etc/passwd"), "is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_package_that_cannot_be_used_says_why(name: str, weights: bytes, tmp_path: Path) -> None:
    spoil, said = BROKEN[name]
    told, files = describe("0.5", weights), {"weights.onnx": weights}
    spoil(told, files)
    with pytest.raises(ModelError, match=said):
        packages.read(packed(tmp_path / "m.zip", told, files))


def test_hostile_zips_are_not_opened(weights: bytes, tmp_path: Path) -> None:
    told = describe("0.5", weights)
    bomb = {"weights.onnx": b"\0" * 2**28}
    told["weights"]["onnx"]["sha256"] = hashlib.sha256(bomb["weights.onnx"]).hexdigest()
    for name, files, said in (
        ("bomb", bomb, "bytes unpacked"),
        ("way out", {"../../out.txt": b"x"}, "outside of it"),
        ("root", {"/etc/passwd": b"x"}, "outside of it"),
        ("windows", {"C:\\windows\\x": b"x"}, "outside of it"),
        ("many", {f"{n}": b"" for n in range(1001)}, "1,002 files"),
    ):
        with pytest.raises(ModelError, match=said):
            packages.read(packed(tmp_path / f"{name}.zip", told, files))
    assert sorted(os.listdir(tmp_path)) == sorted(f"{n}.zip" for n in ("bomb", "way out", "root", "windows", "many"))


def test_a_recipe_of_a_huge_network_is_not_built(make: Any, tmp_path: Path) -> None:
    """What would take 500 GB is noticed by the shapes of the weights that are there."""
    bioimageio.write(make("2D"), tmp_path / "m.zip", **OWN)
    with zipfile.ZipFile(tmp_path / "m.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    told, recipe = json.loads(files.pop("rdf.yaml")), json.loads(files["recipe.json"])
    recipe["recipe"] |= {"base": 4096, "depth": 8, "patch": [256, 256]}
    files["recipe.json"] = json.dumps(recipe).encode()
    told["config"]["veriscope"]["files"]["recipe.json"] = hashlib.sha256(files["recipe.json"]).hexdigest()
    with pytest.raises(ModelError, match="million weights"):
        packages.read(packed(tmp_path / "huge.zip", told, files))


def test_hostile_descriptions_end_in_one_message(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    laughs = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (97 + n, 97 + n, b",".join([b"*%c" % (96 + n)] * 9)) for n in range(1, 12)
    )
    for name, told, said in (
        ("laughs", laughs, "executed or unpickled"),
        ("deep", b"[" * 100_000, "damaged"),
        ("objects", b"!!python/object/apply:os.system ['touch hacked']", "damaged"),
        ("text", b"just a text", "does not describe a model"),
    ):
        with pytest.raises(ModelError, match=said):
            packages.read(packed(tmp_path / f"{name}.zip", told, {}))
    assert not Path("hacked").exists()


def test_broken_zips_and_others_are_named(tmp_path: Path, weights: bytes) -> None:
    whole = packed(tmp_path / "whole.zip", describe("0.5", weights), {"weights.onnx": weights}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.zip").write_text("no zip")
    spoiled = bytearray(whole)
    spoiled[len(whole) // 3] ^= 0xFF
    (tmp_path / "spoiled.zip").write_bytes(spoiled)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("saved_model.pb", b"x")
    for name, said in (("cut", "not a zip"), ("text", "not a zip"), ("spoiled", "damaged"), ("gone", "no package")):
        with pytest.raises(ModelError, match=said):
            packages.read(tmp_path / f"{name}.zip")
    with pytest.raises(ModelError, match="export of TensorFlow"):
        vs.load(tmp_path / "other.zip")


def test_a_package_of_ours_with_other_weights_is_noticed(make: Any, tmp_path: Path) -> None:
    bioimageio.write(make("2D"), tmp_path / "m.zip", **OWN)
    with zipfile.ZipFile(tmp_path / "m.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    sound, files["member-0.safetensors"] = files["member-0.safetensors"], files["member-1.safetensors"]
    told = files.pop("rdf.yaml")
    with pytest.raises(ModelError, match="SHA-256"):
        packages.read(packed(tmp_path / "other.zip", told, files))
    files["member-0.safetensors"] = sound
    told_of = json.loads(told)
    told_of["config"]["veriscope"]["files"]["../../x.safetensors"] = "0"
    with pytest.raises(ModelError, match="which no model has"):
        packages.read(packed(tmp_path / "third.zip", told_of, files))
