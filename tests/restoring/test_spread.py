"""A restoration in tasks gives what one process gives, byte for byte, and continues after any interruption."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriscope import stores
from veriscope.errors import ImageFormatError, OutputError
from veriscope.images.image import Image
from veriscope.images.reading import read_image
from veriscope.images.writing import save_image
from veriscope.networks.model import Ensemble
from veriscope.restoring.job import Opened
from veriscope.restoring.tofile import restore_to_file

Make = Callable[..., Any]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def outputs(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    names = {name: folder / f"{name}.ome.zarr" for name in ("mean", "scale", "lower", "upper", "disagreement")}
    files = {"scale": names["scale"], "disagreement": names["disagreement"]}
    return {"out": names["mean"], **files, "interval": (0.9, names["lower"], names["upper"])}


@pytest.mark.parametrize(
    ("axes", "shape", "dtype"),
    [("YX", (300, 270), "uint16"), ("TYX", (3, 41, 50), "float32"), ("SYX", (2, 40, 20), "uint8")],
)
def test_tasks_give_what_one_process_gives(
    ensemble: Ensemble, noise: Make, tmp_path: Path, axes: str, shape: tuple[int, ...], dtype: str
) -> None:
    image = Image((noise(shape, "uint16") % 250).astype(dtype), axes, voxel_size=(0.2, 0.2))
    one = restore_to_file(image, ensemble, **outputs(tmp_path / "one"), tile=32, normalize="frame", precision="float32")
    many = restore_to_file(image, ensemble, **outputs(tmp_path / "many"), tile=32, normalize="frame", resume=True)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    assert one.trust == many.trust
    assert [(a.kind, a.clipped, a.values) for a in one.outputs] == [(a.kind, a.clipped, a.values) for a in many.outputs]


@pytest.mark.filterwarnings("ignore:The restored image stays normalised")
@pytest.mark.parametrize("task", ["project", "isotropic"])
def test_stacks_in_tasks_give_what_one_process_gives(
    make_ensemble: Make, noise: Make, tmp_path: Path, task: str
) -> None:
    """A surface with its height, which takes a second pass, and a stack made isotropic; each time point of a movie."""
    choices: Any = {"project": {"patch": (16, 16)}, "isotropic": {"upsample": (3, 1, 1)}}[task]
    model = make_ensemble({"project": "ZYX", "isotropic": "YX"}[task], task=task, **choices)
    image = Image(noise((2, 5, 40, 36), "uint16"), "TZYX", (0.6, 0.2, 0.2))
    for name, how in (("one", {"precision": "float32"}), ("many", {"resume": True})):
        (tmp_path / name).mkdir()
        files: Any = {"scale": tmp_path / name / "scale.ome.zarr"}
        if task == "project":
            files["height"] = (tmp_path / name / "height.ome.zarr", tmp_path / name / "spread.ome.zarr")
        restore_to_file(image, model, tmp_path / name / "mean.ome.zarr", tile=32, **files, **how)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    assert len(list((tmp_path / "many").iterdir())) == {"project": 4, "isotropic": 2}[task]


def stop_after(count: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Interrupt the work after so many tasks; what was done is listed."""
    done: list[str] = []
    do = Opened.do

    def counted(self: Opened, task: Any) -> Any:
        if len(done) == count:
            raise KeyboardInterrupt
        done.append(task.key)
        return do(self, task)

    monkeypatch.setattr(Opened, "do", counted)
    return done


@pytest.mark.parametrize("count", [1, 20, 26, 29])
def test_an_interrupted_restoration_continues_where_it_was(
    ensemble: Ensemble, noise: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    image = Image(noise((300, 310), "uint16"), "YX")
    restore_to_file(image, ensemble, **outputs(tmp_path / "one"), tile=64, precision="float32")
    where = outputs(tmp_path / "many")
    with monkeypatch.context() as patch:
        first = stop_after(count, patch)
        with pytest.raises(KeyboardInterrupt):
            restore_to_file(image, ensemble, **where, tile=64, resume=True)
    assert not any(path.suffix == ".zarr" for path in (tmp_path / "many").iterdir())
    with monkeypatch.context() as patch:
        second = stop_after(-1, patch)
        restore_to_file(image, ensemble, **where, tile=64, undo=True, resume=True)
    assert not set(first) & set(second)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    with pytest.raises(OutputError, match=r"exists already"):
        restore_to_file(image, ensemble, **where, tile=64, resume=True)


def test_only_the_same_work_is_continued(
    ensemble: Ensemble, make_ensemble: Make, noise: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, out = Image(noise((64, 64), "uint16"), "YX"), tmp_path / "out.ome.zarr"
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            restore_to_file(image, ensemble, out, tile=32, resume=True)
    for other, model, words in (
        (Image(np.asarray(image) + 1, "YX"), ensemble, "another image"),
        (image, make_ensemble(members=1), "another model"),
    ):
        with pytest.raises(OutputError, match=words):
            restore_to_file(other, model, out, tile=32, resume=True)
    with pytest.raises(OutputError, match="another settings"):
        restore_to_file(image, ensemble, out, tile=16, resume=True)
    journal = tmp_path / "out.ome.zarr.journal"
    owner = {"run": "x", "host": json.loads((journal / "owner.json").read_bytes() or b"{}").get("host"), "process": 1}
    owner |= {"host": __import__("socket").gethostname(), "beat": 0.0}
    (journal / "owner.json").write_text(json.dumps(owner))
    with pytest.raises(OutputError, match="being written by another job"):
        restore_to_file(image, ensemble, out, tile=32, resume=True)
    (journal / "owner.json").write_text("{}")
    next(journal.glob("done-*")).write_bytes(b"nonsense")
    with pytest.raises(OutputError, match=r"journal .* is damaged"):
        restore_to_file(image, ensemble, out, tile=32, resume=True)


def test_shards_and_chunks_are_whole(ensemble: Ensemble, noise: Make, tmp_path: Path) -> None:
    image, out = Image(noise((200, 180), "uint16"), "YX"), tmp_path / "out.ome.zarr"
    restore_to_file(image, ensemble, tmp_path / "one.ome.zarr", tile=64, precision="float32")
    restore_to_file(image, ensemble, out, tile=64, resume=True, chunks=(16,), shards=(64,))
    np.testing.assert_array_equal(*(np.asarray(read_image(path)) for path in (out, tmp_path / "one.ome.zarr")))
    assert len(list((out / "0" / "c").rglob("*"))) == 4 + 4 * 3
    for how, words in (
        ({"chunks": (24,), "shards": (64,)}, "do not consist of whole chunks"),
        ({"chunks": (24,)}, "not made of whole chunks of 24"),
        ({"shards": (512,), "chunks": (16,)}, "hold no whole shard of 512"),
    ):
        with pytest.raises(OutputError, match=words):
            restore_to_file(image, ensemble, tmp_path / "bad.ome.zarr", tile=64, resume=True, **how)
        assert {path.name for path in tmp_path.iterdir()} == {"one.ome.zarr", "out.ome.zarr"}
    with pytest.raises(OutputError, match="only OME-Zarr"):
        restore_to_file(image, ensemble, tmp_path / "bad.ome.tif", resume=True)


def test_results_in_a_store_without_renaming(
    ensemble: Ensemble, noise: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At an address results lie in place, and are an image only when they are complete."""
    source, here = "memory://spread/in.ome.zarr", "memory://spread/out.ome.zarr"
    save_image(source, Image(noise((200, 150), "uint16"), "YX"))
    image = read_image(source, lazy=True)
    restore_to_file(image, ensemble, tmp_path / "out.ome.zarr", tile=64, precision="float32")
    with monkeypatch.context() as patch:
        stop_after(7, patch)
        with pytest.raises(KeyboardInterrupt):
            restore_to_file(image, ensemble, here, tile=64, resume=True)
    with pytest.raises(ImageFormatError, match="not an OME-Zarr image"):
        read_image(here)
    with pytest.raises(OutputError, match="was begun earlier and is not finished"):
        restore_to_file(image, ensemble, here, tile=64, chunks=(64,))
    restore_to_file(image, ensemble, here, tile=64, resume=True)
    np.testing.assert_array_equal(np.asarray(read_image(here)), np.asarray(read_image(tmp_path / "out.ome.zarr")))
    assert not stores.names("memory://spread/out.ome.zarr.journal")
    with pytest.raises(OutputError, match="in the memory of one process"):
        restore_to_file(image, ensemble, "memory://spread/more.ome.zarr", workers=2)
