"""Models of csbdeep, in and out: what they give here is what csbdeep said, and what goes out comes back the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import veriscope as vs
from veriscope.errors import ModelError, OutputError, VeriscopeWarning
from veriscope.networks.model import Ensemble
from veriscope.sharing import csbdeep

Apart = Callable[[Any, Any], float]


def answer(model: Ensemble, made: Any) -> NDArray[Any]:
    """What the network says to the image that csbdeep gave to its own."""
    with torch.inference_mode():
        found: NDArray[Any] = model.members[0](torch.from_numpy(made.given(model))).numpy()
    return found


def restored(made: Any, model: Ensemble, **how: Any) -> dict[str, NDArray[Any]]:
    image = vs.Image(made.numbers["raw"], made.facts["axes_of_raw"])
    if model.recipe.channels_in != model.recipe.channels_out:
        with pytest.warns(VeriscopeWarning, match="stays normalised"):  # as csbdeep warns
            found = vs.restore(image, model, **how)
    else:
        found = vs.restore(image, model, **how)
    images = {"mean": found.mean, **({"scale": found.scale} if model.recipe.probabilistic else {})}
    return {name: np.asarray(one.array) for name, one in images.items()}


def test_every_network_answers_as_it_did_in_csbdeep(made: Any, apart: Apart) -> None:
    model = made.read()
    assert apart(answer(model, made), made.answered(model)) < 1e-6


def test_every_model_restores_as_csbdeep_did(made: Any, apart: Apart) -> None:
    found = restored(made, made.read())
    assert set(found) == set(made.numbers) & {"mean", "scale"}
    for name, image in found.items():
        assert apart(image, made.numbers[name]) < 1e-5


def test_tiles_and_lazy_reading_change_nothing(made: Any, apart: Apart, tmp_path: Path) -> None:
    model = made.read()
    whole = restored(made, model)
    for how in ({"tile": 16}, {"tile": 16, "lazy": True}):
        for name, image in restored(made, model, **how).items():
            assert apart(image, whole[name]) < 2e-6


@pytest.mark.parametrize("suffix", [".ome.tif", ".ome.zarr"])
def test_files_hold_what_restoring_gives(
    suffix: str, open_made: Callable[[str], Any], apart: Apart, tmp_path: Path
) -> None:
    from veriscope.restoring.tofile import restore_to_file

    made = open_made("isotropic_prob")
    out, scale = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    restore_to_file(vs.Image(made.numbers["raw"], "ZYX"), made.read(), out, scale=scale, tile=12)
    for path, name in ((out, "mean"), (scale, "scale")):
        assert apart(vs.read_image(path).array, made.numbers[name]) < 1e-5


def test_borders_and_directions_are_handled_our_way_on_request(open_made: Callable[[str], Any], apart: Apart) -> None:
    made = open_made("isotropic_prob")
    model = made.read()
    ours = vs.restore(vs.Image(made.numbers["raw"], "ZYX"), model, combine="mixture")
    assert len(ours.means) == 2
    assert apart(ours.mean.array, made.numbers["mean"]) > 1e-3


def test_a_model_that_was_imported_is_saved_and_loaded_like_any_other(made: Any, tmp_path: Path) -> None:
    model = made.read()
    vs.save(model, tmp_path / "model")
    again = vs.load(tmp_path / "model")
    assert again.recipe == model.recipe
    assert again.facts == model.facts
    assert np.array_equal(answer(again, made), answer(model, made))


def test_load_opens_a_folder_of_csbdeep(open_made: Callable[[str], Any]) -> None:
    made = open_made("care2d_prob")
    assert np.array_equal(answer(vs.load(made.folder), made), answer(made.read(), made))


def test_layers_are_taken_in_keras_order(open_made: Callable[[str], Any]) -> None:
    """conv2d_10, the scale, sorts before conv2d_9, the mean."""
    made = open_made("care2d_counters")
    with h5py.File(made.folder / "weights_best.h5") as file:
        names = [n.decode() if isinstance(n, bytes) else n for n in file.attrs["layer_names"]]
        ends = [name for name in names if name.startswith("conv2d")]
        assert ends == ["conv2d_9", "conv2d_10"] != sorted(ends)
        kernel = file["conv2d_9/conv2d_9/kernel:0"][()]
    assert np.array_equal(made.read().members[0].mean.weight[:, :, 0, 0], kernel[0, 0].T)


def test_weights_can_be_chosen(open_made: Callable[[str], Any]) -> None:
    made = open_made("care2d_k5")
    sums = {w: float(csbdeep.read(made.folder, weights=w).members[0].mean.weight.sum()) for w in ("best", "last")}
    with h5py.File(made.folder / "weights_last.h5") as file:
        kernels = [file[n][n]["kernel:0"][()] for n in file if n.startswith("conv2d")]
    assert sums["last"] == pytest.approx(float(kernels[0].sum()), rel=1e-5)
    assert "weights_now.h5" in str(csbdeep.read(made.folder, weights="weights_now.h5").facts.imported)


def test_an_interrupted_training_has_no_last_weights(open_made: Callable[[str], Any]) -> None:
    with pytest.raises(ModelError, match=r"no weights 'weights_last\.h5'. It has .*weights_now\.h5"):
        csbdeep.read(open_made("care2d_interrupted").folder, weights="last")


def test_several_folders_make_one_ensemble(open_made: Callable[[str], Any]) -> None:
    folders = [open_made(name).folder for name in ("care2d_counters", "care2d_counters_keras3")]
    model = csbdeep.read(*folders)
    assert len(model) == 2
    with pytest.raises(ModelError, match=r"cannot be members of one ensemble: kernel differ"):
        csbdeep.read(folders[0], open_made("care2d_prob").folder)


# Out again


def test_what_goes_out_comes_back_the_same(any_kind: Ensemble, tmp_path: Path, image_for: Any, apart: Apart) -> None:
    recipe = any_kind.recipe
    if recipe.stem > 1:
        with pytest.raises(ModelError, match="folds 2 x 2 pixels into channels"):
            csbdeep.write(any_kind, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return
    folders = csbdeep.write(any_kind, tmp_path / "out")
    options: dict[str, Any] = {}
    if recipe.isotropic or recipe.finer:
        options = {"task": "isotropic" if recipe.isotropic else "upsample", "factor": recipe.finer["Z"]}
    again = csbdeep.read(*folders, **options)
    image = torch.from_numpy(image_for(any_kind))
    for one, other in zip(again.members, any_kind.members, strict=True):
        assert apart(one(image), other(image)) < 1e-6  # kernels with zeros around sum in another order


def test_config_holds_only_what_csbdeep_knows(open_made: Callable[[str], Any], tmp_path: Path) -> None:
    for name in ("care2d_prob", "projection_unusual"):
        made = open_made(name)
        csbdeep.write(made.read(), tmp_path / name)
        theirs, ours = (json.loads((at / "config.json").read_text()) for at in (made.folder, tmp_path / name))
        assert ours.items() <= theirs.items()


def test_h5_files_have_the_layout_of_keras(open_made: Callable[[str], Any], tmp_path: Path) -> None:
    for name in ("care2d_prob", "projection"):
        made = open_made(name)
        csbdeep.write(made.read(), tmp_path / name)
        with (
            h5py.File(made.folder / "weights_best.h5") as theirs,
            h5py.File(tmp_path / name / "weights_best.h5") as ours,
        ):
            sizes = [_weights_in_order(file) for file in (theirs, ours)]
        assert len(sizes[0]) == len(sizes[1])
        assert all(np.array_equal(a, b) for a, b in zip(*sizes, strict=True))


def _weights_in_order(file: h5py.File) -> list[NDArray[Any]]:
    text = [n.decode() if isinstance(n, bytes) else n for n in file.attrs["layer_names"]]
    return [file[n][w][()] for n in text for w in file[n].attrs["weight_names"]]


def test_a_member_alone_is_a_folder_of_its_own(make: Any, tmp_path: Path) -> None:
    assert csbdeep.write(make(), tmp_path / "one", member=1) == [tmp_path / "one"]
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["config.json", "weights_best.h5"]
    with pytest.raises(OutputError, match="exists already"):
        csbdeep.write(make(), tmp_path / "one")


# What cannot be, and what is broken


@pytest.fixture
def folder(make: Any, tmp_path: Path) -> Path:
    """A sound model of csbdeep, written here, to be spoiled."""
    return csbdeep.write(make(members=1), tmp_path / "sound")[0]


def config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def weights(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        with h5py.File(folder / "weights_best.h5", "a") as file:
            change(file)

    return changed


def _replaced(file: h5py.File, make: Callable[[h5py.Group], object]) -> None:
    group = file["middle_0/middle_0"]
    del group["kernel:0"]
    make(group)


def _virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((5, 5, 6, 12), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (5, 5, 6, 12))
    group.create_virtual_dataset("kernel:0", layout)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "holds no config.json"),
    "config is no json": (lambda f: (f / "config.json").write_text("{"), "cannot be read"),
    "config is a list": (lambda f: (f / "config.json").write_text("[1]"), "no names and values"),
    "config nests deeply": (lambda f: (f / "config.json").write_text("[" * 200_000), "cannot be read"),
    "a number that is none": (lambda f: (f / "config.json").write_text('{"axes": "YXC", "train_x": NaN}'), "no number"),
    "another program": (config(n_rays=32), "Noise2Void, StarDist"),
    "no axes": (lambda f: (f / "config.json").write_text("{}"), "names no axes"),
    "time as space": (config(axes="TYXC"), "Only planes"),
    "axes twice": (config(axes="YYXC"), "Only planes"),
    "an even kernel": (config(unet_kern_size=4), "kernel is odd"),
    "huge widths": (config(unet_n_first=4096, unet_n_depth=8), "million weights"),
    "a depth without sense": (config(unet_n_depth=10**9), "lies between 1 and 4,096"),
    "text for a number": (config(unet_n_first="32"), "whole number"),
    "text for a truth": (config(probabilistic="yes"), "true or false"),
    "another activation": (config(unet_last_activation="tanh"), "activation is linear or relu"),
    "another depth": (config(unet_n_depth=3), "does not fit config.json"),
    "no scales": (config(probabilistic=False), "does not fit config.json"),
    "other channels": (config(n_channel_in=2, unet_residual=False), "does not fit config.json"),
    "weights elsewhere": (config(train_checkpoint="../../x.h5"), ""),
    "no weights": (lambda f: [p.unlink() for p in f.glob("*.h5")], "none at all"),
    "weights are text": (lambda f: (f / "weights_best.h5").write_text("weights"), "not a file of weights"),
    "weights cut short": (
        lambda f: (f / "weights_best.h5").write_bytes((f / "weights_best.h5").read_bytes()[:5000]), "damaged",
    ),
    "no list of layers": (weights(lambda h: h.attrs.__delitem__("layer_names")), "no list of layers"),
    "a layer is missing": (weights(lambda h: h.__delitem__("middle_0")), "'middle_0' is missing"),
    "a kernel is missing": (weights(lambda h: _replaced(h, lambda g: None)), "is missing"),
    "a soft link out": (
        weights(lambda h: _replaced(h, lambda g: g.__setitem__("kernel:0", h5py.SoftLink("/middle_2")))), "never does",
    ),
    "an external link": (
        weights(lambda h: _replaced(h, lambda g: g.__setitem__("kernel:0", h5py.ExternalLink("/etc/passwd", "/")))),
        "never does",
    ),
    "external storage": (
        weights(
            lambda h: _replaced(
                h, lambda g: g.create_dataset("kernel:0", (5, 5, 6, 12), "f4", external=[("/etc/passwd", 0, 7200)])
            )
        ),
        "never does",
    ),
    "a virtual dataset": (weights(lambda h: _replaced(h, _virtual)), "never does"),
    "a bomb": (
        weights(
            lambda h: _replaced(h, lambda g: g.create_dataset("kernel:0", (5, 5, 60_000, 120_000), "f4", chunks=True))
        ),
        "claims to hold",
    ),
    "another shape": (
        weights(lambda h: _replaced(h, lambda g: g.create_dataset("kernel:0", data=np.zeros((3, 3, 6, 12), "f4")))),
        "has a kernel of 3 x 3 x 6 x 12",
    ),
    "a group for an array": (weights(lambda h: _replaced(h, lambda g: g.create_group("kernel:0"))), "numbers"),
    "text for weights": (
        weights(lambda h: _replaced(h, lambda g: g.create_dataset("kernel:0", data=b"weights"))), "numbers",
    ),
    "infinite weights": (
        weights(lambda h: h["middle_0/middle_0/kernel:0"].__setitem__(..., np.inf)), "not finite",
    ),
    "another layer": (
        weights(lambda h: h["middle_0"].attrs.__setitem__("weight_names", [b"norm/gamma:0"])), "Only convolutions",
    ),
    "names out of the group": (
        weights(lambda h: h["middle_0"].attrs.__setitem__("weight_names", [b"../x/kernel:0"])), "is missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_or_hostile_folder_ends_in_one_message(name: str, folder: Path) -> None:
    spoil, said = BROKEN[name]
    spoil(folder)
    if not said:  # what the folder says of other places is not believed: the weights beside are taken
        assert len(csbdeep.read(folder)) == 1
        return
    with pytest.raises(ModelError, match=said):
        csbdeep.read(folder)


def test_the_task_must_fit_the_network(folder: Path, make: Any, tmp_path: Path) -> None:
    for options, said in (
        ({"task": "isotropic"}, "needs the factor"),
        ({"task": "isotropic", "factor": 0.5}, "needs the factor"),
        ({"task": "upsample", "factor": 2}, "has the axes YXC, but one for the task upsample has ZYX"),
        ({"task": "denoise", "factor": 2}, "unknown"),
        ({"factor": 2}, "needs a task"),
    ):
        with pytest.raises(ModelError, match=said):
            csbdeep.read(folder, **options)
    stacks = csbdeep.write(make("projection", members=1), tmp_path / "stacks")[0]
    with pytest.raises(ModelError, match="Remove --task isotropic"):
        csbdeep.read(stacks, task="isotropic", factor=2)


def test_a_saved_model_and_a_folder_of_models_are_named_for_what_they_are(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(ModelError, match="export of TensorFlow"):
        csbdeep.read(tmp_path / "a.zip")
    shutil.copytree(folder, tmp_path / "models" / "first")
    with pytest.raises(ModelError, match="models in it: first"):
        csbdeep.read(tmp_path / "models")
