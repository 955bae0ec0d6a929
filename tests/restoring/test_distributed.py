"""Workers of Dask restore what one process restores, also when they are killed; what is wrong is said in a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriscope.clusters import client_of
from veriscope.errors import DeviceError, ImageFormatError, OutputError, VeriscopeError
from veriscope.images.image import Image
from veriscope.images.reading import read_image
from veriscope.images.writing import save_image
from veriscope.networks.folder import save
from veriscope.networks.model import Ensemble
from veriscope.restoring.tofile import restore_to_file

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
Make = Callable[..., Any]
PROFILE = "distributed.worker.profile.enabled"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def client() -> Iterator[Any]:
    """Two workers that are threads of this process."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0", memory_limit=0
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_a_users_own_client_does_every_task(ensemble: Ensemble, noise: Make, tmp_path: Path, client: Any) -> None:
    save_image(tmp_path / "in.ome.zarr", Image(noise((3, 300, 280), "uint16"), "TYX", (0.1, 0.1)))
    image = read_image(tmp_path / "in.ome.zarr", lazy=True)
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
        how: Any = {"cluster": client} if name == "many" else {"precision": "float32"}
        out, scale = (tmp_path / name / f"{kind}.ome.zarr" for kind in ("mean", "scale"))
        report = restore_to_file(image, ensemble, out, scale=scale, tile=64, dtype="uint16", **how)
        assert report.tiles == 3 * 5 * 5
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    assert client.status == "running"
    bad = Image(np.where(noise((64, 64)) > 0.99, np.nan, 1).astype("float32"), "YX")
    with pytest.raises(ValueError, match="NaN"):
        restore_to_file(bad, ensemble, tmp_path / "bad.ome.zarr", cluster=client)
    assert not list(tmp_path.glob("bad*"))


def test_a_scheduler_that_is_not_there(
    ensemble: Ensemble, noise: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veriscope.clusters.CONNECTING", 0.2)
    with pytest.raises(DeviceError, match=r"scheduler tcp://127\.0\.0\.1:9 cannot be reached .*dask scheduler"):
        restore_to_file(Image(noise((16, 16)), "YX"), ensemble, tmp_path / "o.ome.zarr", cluster="tcp://127.0.0.1:9")


def test_workers_that_cannot_help_are_named(
    ensemble: Ensemble, noise: Make, tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_image(tmp_path / "in.ome.zarr", Image(noise((64, 64), "uint16"), "YX"))
    image, out = read_image(tmp_path / "in.ome.zarr", lazy=True), tmp_path / "out.ome.zarr"
    with monkeypatch.context() as patch:
        patch.setattr("veriscope.restoring.worker.__version__", "0.0.9")
        with pytest.raises(DeviceError, match=r"Worker \S+ has veriscope 0\.0\.9, but this is .* same version"):
            restore_to_file(image, ensemble, out, cluster=client)
    read = Image.read

    def only_here(self: Image, *index: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise ImageFormatError(f"'{tmp_path}/in.ome.zarr' does not exist.")
        return read(self, *index)

    monkeypatch.setattr(Image, "read", only_here)
    with pytest.raises(ImageFormatError, match=r"Worker \S+: .*in\.ome\.zarr.* needs it under the same name"):
        restore_to_file(image, ensemble, out, cluster=client)
    with pytest.raises(VeriscopeError, match="exclude each other"):
        restore_to_file(image, ensemble, out, cluster="tcp://127.0.0.1:9", workers=2)
    assert [path.name for path in tmp_path.iterdir()] == ["in.ome.zarr"]


def started(words: list[str], **more: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *words], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
    )


def test_processes_that_are_killed_lose_nothing(make_ensemble: Make, noise: Make, tmp_path: Path) -> None:
    """Two workers: one is killed, then the command itself, and the same command with --resume finishes."""
    model, image = make_ensemble(base=8), Image(noise((640, 640), "uint16"), "YX", name="in")
    save(model, tmp_path / "model")
    save_image(tmp_path / "in.ome.zarr", image)
    restore_to_file(
        image, model, tmp_path / "one.ome.zarr", scale=tmp_path / "one.scale.ome.zarr", tile=24, precision="float32"
    )
    given = [tmp_path / "in.ome.zarr", "--model", tmp_path / "model", "--tile", "24", "--scale", "--workers", "2"]
    words = ["-c", "from veriscope.apps.start import main; main()", "restore", *map(str, given)]
    words += ["--out", str(tmp_path / "many.ome.zarr")]
    journal, first = tmp_path / "many.ome.zarr.journal", started(words)
    deadline = time.monotonic() + 120

    def wait_for(notes: int) -> None:
        while len(list(journal.glob("done-*"))) < notes and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert first.poll() is None, first.communicate()

    try:
        wait_for(2)
        os.kill(workers_of(first.pid)[0], signal.SIGKILL)
        wait_for(3)
    finally:
        first.kill()
        first.communicate()
    assert not (tmp_path / "many.ome.zarr").exists()
    with pytest.raises(OutputError, match="Continue with resume"):
        restore_to_file(image, model, tmp_path / "many.ome.zarr", workers=2)
    last = started([*words, "--resume"])
    said = last.communicate(timeout=120)
    assert last.returncode == 0, said
    for name in ("", ".scale"):
        assert contents(tmp_path / f"one{name}.ome.zarr") == contents(tmp_path / f"many{name}.ome.zarr")
    assert not list(tmp_path.glob("*.journal")) + list(tmp_path.glob("*.unfinished"))


def test_the_script_for_slurm_runs_as_it_is(ensemble: Ensemble, noise: Make, tmp_path: Path) -> None:
    """With an sbatch that checks the job and starts it here."""
    pytest.importorskip("dask_jobqueue")
    save(ensemble, tmp_path / "model")
    save_image(tmp_path / "in.ome.zarr", Image(noise((64, 64), "uint16"), "YX"))
    job = f'bash -n "$1" && cp "$1" {tmp_path}/job && {{ setsid bash {tmp_path}/job > {tmp_path}/log 2>&1 & }}'
    for name, does in (("sbatch", f"{job}; echo Submitted batch job 17"), ("scancel", "true")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{does}\n")
        (tmp_path / name).chmod(0o755)
    script = Path(__file__).parents[2] / "docs" / "scripts" / "scale_slurm.py"
    words = [str(tmp_path / name) for name in ("in.ome.zarr", "model", "out.ome.zarr")]
    here = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    usual = ["--jobs", "1", "--cores", "1", "--memory", "2GB", "--gpu"]
    done = subprocess.run(
        [sys.executable, script, *words, *usual], env=here, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert read_image(tmp_path / "out.ome.zarr").shape == (64, 64)
    assert all(line in (tmp_path / "job").read_text() for line in ("#SBATCH --gres=gpu:1", "MALLOC_ARENA_MAX=1"))


@pytest.mark.parametrize("wanted", [1, 3])
def test_as_many_processes_work_as_were_asked_for(wanted: int) -> None:
    with client_of(None, wanted) as client:
        assert len(client.scheduler_info(n_workers=-1)["workers"]) == wanted
        ways = set(client.run(lambda: (os.environ["MALLOC_ARENA_MAX"], dask.config.get(PROFILE))).values())
        assert ways == {("1", False)}


def workers_of(process: int) -> list[int]:
    """The processes of Dask's workers, which the command spawned."""
    import psutil

    return [
        one.pid for one in psutil.Process(process).children(recursive=True) if "spawn_main" in " ".join(one.cmdline())
    ]
