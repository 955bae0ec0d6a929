"""Killed at any moment, nothing half-written has a final name, and the next run cleans up and goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from veriscope.images.reading import read_image
from veriscope.networks.folder import load
from veriscope.restoring.restore import restore


def blobs(shape: tuple[int, int], seed: int) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return np.clip(1000 + 4000 * (smooth - smooth.min()) / np.ptp(smooth), 0, 65535).astype(np.uint16)


COMMAND = [sys.executable, "-c", "from veriscope.apps.start import main; main()"]
QUIET = {**os.environ, "OMP_NUM_THREADS": "1"}


def run(
    *words: str, kill: float | None = None, number: int = signal.SIGKILL, after: Callable[[], object] = lambda: True
) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own; killed so many seconds `after` something has happened."""
    started = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=QUIET)
    if kill is not None:
        while not after() and started.poll() is None:
            time.sleep(0.005)
        time.sleep(kill)
        started.send_signal(number)
    out, err = started.communicate(timeout=300)
    assert "Traceback" not in err
    return subprocess.CompletedProcess(words, started.returncode, out, err)


def partial(folder: Path) -> list[Path]:
    return list(folder.rglob("*.partial"))


@pytest.mark.parametrize("name", ["out.ome.tif", "out.ome.zarr"])
def test_a_killed_restoration_leaves_nothing_under_its_name_and_the_next_run_cleans_up(desk, name):
    tifffile.imwrite(desk / "big.tif", blobs((1500, 1500), 1))
    command = f"restore big.tif --model model --out {name}".split()
    for wait in (0.0, 0.3):
        done = run(*command, kill=wait, after=lambda: partial(desk))
        if done.returncode != -signal.SIGKILL:  # it was faster
            break
        assert not (desk / name).exists()
        assert len(partial(desk)) == 1  # that of the run before is gone
    else:
        done = run(*command)
        assert (done.returncode, "left in" in done.stderr) == (0, True)
    assert not partial(desk)
    whole = restore(read_image("big.tif"), load("model"))
    np.testing.assert_allclose(np.asarray(read_image(desk / name)), np.asarray(whole.mean), rtol=1e-4)


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("restore big.tif --model model --out out --scale", signal.SIGHUP),
        ("segment big.tif --out seg --smooth 9", signal.SIGINT),
        ("simulate camera --on big.tif --photons 20 --out cam", signal.SIGTERM),
        ("simulate hela --out sim", signal.SIGHUP),
        ("judge low high --model model --report r.html", signal.SIGINT),
    ],
)
def test_whatever_signal_asks_to_stop_is_obeyed_without_a_traceback_or_remains(desk, command, number):
    tifffile.imwrite(desk / "big.tif", blobs((1500, 1500), 1))
    before = set(os.listdir())
    for wait in (0.7, 2.5):
        done = run(*command.split(), kill=wait, number=number)
        assert done.returncode in (0, 130, -number), done
        if done.returncode == 0:
            break
        assert not partial(desk)
        for place in map(Path, set(os.listdir()) - before):  # what was complete by then
            assert [np.asarray(read_image(path)).any() for path in place.rglob("*.ome.tif")]
            shutil.rmtree(place) if place.is_dir() else place.unlink()


def test_a_killed_training_goes_on_where_it_was_and_ends_as_if_nothing_had_been(desk):
    command = "train low high --members 2 --epochs 6 --depth 1 --base 2 --patch 16,16 --per-image 16 --batch 2 --out"
    assert run(*command.split(), "whole").returncode == 0
    more: tuple[str, ...] = ()
    for file in ("member-0.safetensors", "member-1.safetensors"):
        done = run(*command.split(), "m", *more, kill=0.1, after=(desk / "m" / file).exists)
        assert done.returncode in (0, -signal.SIGKILL), done
        more = ("--resume",)
    if done.returncode:
        assert run(*command.split(), "m", *more).returncode == 0
    assert not partial(desk)
    whole, resumed = load("whole").facts.history, load("m").facts.history
    assert [row["check_loss"] for row in whole] == [row["check_loss"] for row in resumed]


def test_two_that_restore_to_one_name_do_not_both_succeed(desk):
    tifffile.imwrite(desk / "big.tif", blobs((700, 700), 1))
    words = [*COMMAND, *["restore", "big.tif", "--model", "model", "--out", "out.ome.tif"]]
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=QUIET) for _ in range(2)]
    errors = [one.communicate(timeout=300)[1].decode() for one in both]
    assert sorted(one.returncode for one in both) == [0, 2], errors
    assert any("appeared" in text or "exists already" in text for text in errors)
    assert not partial(desk)


def test_a_forked_process_restores_too(desk):
    code = (
        "import os, torch, numpy as np, veriscope as vs; torch.set_num_threads(2)\n"
        "model, image = vs.load('model'), vs.Image(np.random.default_rng(0).random((256, 256)), 'YX')\n"
        "vs.restore(image, model)\n"
        "child = os.fork()\n"
        "if not child: vs.restore(image, model); os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env)
    assert done.stdout.strip() == "7", done
