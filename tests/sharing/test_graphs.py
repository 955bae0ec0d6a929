"""ONNX, OpenVINO and TorchScript: every kind of network gives in the other runtime what it gives here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import veriscope as vs
from veriscope.errors import ModelError, OutputError
from veriscope.networks.model import Ensemble
from veriscope.normalize import Normalization
from veriscope.sharing import onnx, openvino, torchscript

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

Apart = Callable[[Any, Any], float]
FORMATS = {"model.onnx": onnx, "model.xml": openvino, "model.pt": torchscript}
FACTS = {
    "low": {"percentiles": {"2.0": [100.0], "99.8": [900.0]}},
    "high": {"percentiles": {"2.0": [50.0], "99.8": [4000.0]}},
    "voxel_size": [0.1, 0.1],
}
each_format = pytest.mark.parametrize("name", FORMATS)


def by_name(form: ModuleType, path: Path, image: Any, names: list[str]) -> dict[str, Any]:
    found = form.run(path, image)
    return found if isinstance(found, dict) else dict(zip(names, found, strict=True))


@each_format
def test_runtimes_agree_with_the_networks(
    name: str, any_kind: Ensemble, image_for: Any, apart: Apart, tmp_path: Path
) -> None:
    """For sizes and numbers of images that the graph was not traced with. The mixture is that of veriscope.laplace."""
    from veriscope import laplace

    form, path = FORMATS[name], tmp_path / name
    written = form.write(any_kind, path, members=True)
    for steps in (3, 5):
        image = np.concatenate([image_for(any_kind, steps, seed) for seed in range(steps - 2)])
        means, scales = any_kind.predict(_tensor(image))
        expected = {"mean": laplace.mixture_mean(means.numpy()), "means": means.numpy().swapaxes(0, 1)}
        if scales is not None:
            expected |= {"scale": laplace.mixture_scale(means.numpy(), scales.numpy())}
            expected |= {"scales": scales.numpy().swapaxes(0, 1)}
        found = by_name(form, path, image, written.outputs)
        assert set(found) == set(expected)
        for what, one in expected.items():
            assert apart(found[what], one) < 1e-5


def _tensor(image: Any) -> Any:
    import torch

    return torch.from_numpy(image)


@each_format
def test_grey_values_go_in_and_out_when_the_graph_normalises(
    name: str, make: Callable[..., Ensemble], apart: Apart, tmp_path: Path
) -> None:
    form, path, model = FORMATS[name], tmp_path / name, make("2D", facts=FACTS)
    written = form.write(model, path, normalize="model")
    pixels = np.random.default_rng(1).integers(80, 1000, (24, 32)).astype(np.uint16)
    found = by_name(form, path, pixels[None, None].astype(np.float32), written.outputs)
    expected = vs.restore(vs.Image(pixels, "YX"), model, normalize=Normalization((100.0,), (900.0,)))
    assert apart(found["mean"][0, 0], expected.mean.array) < 1e-5
    assert apart(found["scale"][0, 0], expected.scale.array) < 1e-5


def test_projections_return_to_the_grey_values_of_their_truth(
    make: Callable[..., Ensemble], apart: Apart, tmp_path: Path
) -> None:
    model = make("projection", facts=FACTS)
    onnx.write(model, tmp_path / "m.onnx", normalize="model")
    stack = np.random.default_rng(1).integers(80, 1000, (7, 32, 48)).astype(np.uint16)
    found = onnx.run(tmp_path / "m.onnx", stack[None, None].astype(np.float32))
    expected = vs.restore(vs.Image(stack, "ZYX"), model, normalize=Normalization((100.0,), (900.0,)))
    assert apart(found["mean"][0, 0], expected.mean.array) < 1e-5


@each_format
def test_a_member_alone_is_that_member(
    name: str, make: Callable[..., Ensemble], image_for: Any, apart: Apart, tmp_path: Path
) -> None:
    form, path, model = FORMATS[name], tmp_path / name, make("2D")
    written = form.write(model, path, member=1)
    image = image_for(model, 3)
    means, scales = model.predict(_tensor(image))
    assert scales is not None
    found = by_name(form, path, image, written.outputs)
    assert apart(found["mean"], means[1]) < 1e-5
    assert apart(found["scale"], scales[1]) < 1e-5


def test_models_of_csbdeep_answer_in_other_runtimes_as_in_csbdeep(made: Any, apart: Apart, tmp_path: Path) -> None:
    """From csbdeep through veriscope to ONNX Runtime and OpenVINO, against the numbers of csbdeep."""
    model = made.read()
    image, expected = made.given(model), made.answered(model)
    count = model.recipe.channels_out
    for name, form in (("m.onnx", onnx), ("m.xml", openvino)):
        form.write(model, tmp_path / name)
        found = form.run(tmp_path / name, image)
        assert apart(found["mean"], expected[:, :count]) < 1e-5
        if model.recipe.probabilistic:
            assert apart(found["scale"], expected[:, count:]) < 1e-5


def test_files_tell_what_must_be_known(make: Callable[..., Ensemble], tmp_path: Path) -> None:
    import onnx as library
    from openvino import Core

    model = make("3D", facts=FACTS | {"voxel_size": [0.5, 0.1, 0.1]})
    onnx.write(model, tmp_path / "m.onnx")
    file = library.load(tmp_path / "m.onnx")
    assert file.ir_version == 8
    assert [one.version for one in file.opset_import if one.domain == ""] == [17]
    told = {one.key: one.value for one in file.metadata_props}
    assert told["axes"] == "NCZYX"
    assert json.loads(told["step"]) == [4, 4, 4]
    assert json.loads(told["halo"]) == list(model.halo)
    assert json.loads(told["normalization"]) == {"by": "caller", "percentiles": [2.0, 99.8]}
    assert json.loads(told["voxel_size_um"]) == [0.5, 0.1, 0.1]
    openvino.write(model, tmp_path / "m.xml", normalize="model")
    stored = Core().read_model(tmp_path / "m.xml").get_rt_info("veriscope").value
    assert json.loads(stored["normalization"])["input"] == {"low": [100.0], "high": [900.0]}


def test_what_cannot_be_written_is_said_and_nothing_is_left(make: Callable[..., Ensemble], tmp_path: Path) -> None:
    model = make("2D")
    for write, said in (
        (lambda: onnx.write(model, tmp_path / "m.onnx", member=2), "no member 2"),
        (lambda: onnx.write(model, tmp_path / "m.onnx", normalize="model"), "does not know the percentiles"),
        (lambda: openvino.write(model, tmp_path / "model"), r"Name it .*model\.xml"),
    ):
        with pytest.raises((ModelError, OutputError), match=said):
            write()
    (tmp_path / "m.bin").touch()
    with pytest.raises(OutputError, match=r"m\.bin' exists already"):
        openvino.write(model, tmp_path / "m.xml")
    assert [one.name for one in tmp_path.iterdir()] == ["m.bin"]


def test_a_missing_library_is_named(
    make: Callable[..., Ensemble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for library, form, name in (("onnx", onnx, "m.onnx"), ("openvino", openvino, "m.xml")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, library, None)
            with pytest.raises(ModelError, match=r"pip install 'veriscope\[sharing\]'"):
                form.write(make("2D"), tmp_path / name)
