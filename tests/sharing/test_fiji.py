"""Models for the CSBDeep plugin of Fiji, read by OpenVINO, which knows TensorFlow's graphs; no Fiji is at hand."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from veriscope import laplace
from veriscope.errors import ModelError
from veriscope.networks.model import Ensemble
from veriscope.sharing import fiji

pytest.importorskip("openvino")

Apart = Callable[[Any, Any], float]


def test_openvino_reads_what_was_written(any_kind: Ensemble, image_for: Any, apart: Apart, tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    if any_kind.recipe.stem > 1:
        with pytest.raises(ModelError, match="folds 2 x 2 pixels"):
            fiji.write(any_kind, path)
        assert not path.exists()
        return
    fiji.write(any_kind, path)
    image = np.concatenate([image_for(any_kind, 3, seed) for seed in (0, 1)])
    means, scales = any_kind.predict(torch.from_numpy(image))
    expected = [laplace.mixture_mean(means.numpy())]
    if scales is not None:
        expected.append(laplace.mixture_scale(means.numpy(), scales.numpy()))
    found = fiji.run(path, image)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert apart(one, other) < 1e-5


def test_models_of_csbdeep_answer_as_in_csbdeep(made: Any, apart: Apart, tmp_path: Path) -> None:
    model = made.read()
    fiji.write(model, tmp_path / "m.zip")
    found = np.concatenate(fiji.run(tmp_path / "m.zip", made.given(model)), axis=1)
    assert apart(found, made.answered(model)) < 1e-5


def test_what_the_plugin_is_told_is_what_csbdeep_tells_it(made: Any, tmp_path: Path) -> None:
    """The overlap of tiles is a pixel more where csbdeep measures one side only; axes come in another order."""
    theirs = made.folder / "TF_SavedModel.zip"
    if not theirs.exists():
        pytest.skip("csbdeep under Keras 3 exports no SavedModel")
    fiji.write(made.read(), tmp_path / "m.zip")
    told = []
    for path in (theirs, tmp_path / "m.zip"):
        with zipfile.ZipFile(path) as packed:
            assert {"saved_model.pb", "meta.json", "variables/"} <= set(packed.namelist())
            told.append(json.loads(packed.read("meta.json")))
    csbdeep, ours = told
    for name in ("axes", "axes_div_by"):
        assert sorted(csbdeep.pop(name)) == sorted(ours.pop(name))
    overlaps = zip(csbdeep.pop("tile_overlap"), ours.pop("tile_overlap"), strict=True)
    if csbdeep["type"] != "ProjectionCARE":  # of which csbdeep has no more than a rule of thumb
        assert all(theirs <= here <= theirs + 1 for theirs, here in overlaps)
    assert ours == csbdeep


def test_a_graph_is_made_of_messages_that_protobuf_reads() -> None:
    """Numbers as in the documentation of protocol buffers: 150 is 96 01, and field 1 with it is 08 96 01."""
    from veriscope.sharing.fiji import field, number

    assert number(150) == b"\x96\x01"
    assert field(1, 150) == b"\x08\x96\x01"
    assert field(2, "testing") == b"\x12\x07testing"
    assert number(-1) == b"\xff" * 9 + b"\x01"
