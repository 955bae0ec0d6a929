from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import veriscope as vs
from veriscope.clusters import client_of
from veriscope.errors import TrainingError
from veriscope.images.pairing import Pair, Pairs
from veriscope.training.team import Team

SCRIPT = """
    import sys
    sys.path.insert(0, {tests!r})
    from conftest import Blobs
    import veriscope as vs
    recipe = vs.Recipe(axes="YX", depth=1, base=4, patch=(16, 16), batch=4, precision="float32")
    ensemble = vs.train(recipe, Blobs(), Blobs(), members=2, epochs=3, folder={out!r}, progress=False)
"""


QUIET: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}


def launcher(node: int, nodes: int) -> list[str]:
    """torchrun on one of several nodes, which meet at a port of the first."""
    if nodes == 1:
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = PORTS.setdefault(nodes, free.getsockname()[1])
    words = ["--nnodes", nodes, "--nproc-per-node", 1, "--node-rank", node]
    where = ["--master-addr", "127.0.0.1", "--master-port", port]
    return [sys.executable, "-m", "torch.distributed.run", *map(str, words + where)]


PORTS: dict[int, int] = {}


def test_two_nodes_learn_what_one_process_learns(tmp_path: Path) -> None:
    """The same batches, shared: losses agree to rounding, weights nearly, and one process writes the model."""
    script = tmp_path / "script.py"
    histories = {}
    for size in (1, 2):
        out = tmp_path / f"model{size}"
        script.write_text(textwrap.dedent(SCRIPT.format(tests=str(Path(__file__).parent), out=str(out))))
        nodes = [subprocess.Popen([*launcher(node, size), str(script)], **QUIET) for node in range(size)]
        said = [node.communicate(timeout=300)[1] for node in nodes]
        assert not any(node.returncode for node in nodes), said[0][-3000:]
        facts = json.loads((out / "recipe.json").read_text())["facts"]
        assert facts["training"]["processes"] == size
        histories[size] = [(row["loss"], row["check_loss"]) for row in facts["history"]]
    assert len(histories[1]) == 6
    for alone, shared in zip(histories[1], histories[2], strict=True):
        assert shared == pytest.approx(alone, rel=1e-4, abs=1e-5)
    one, two = (vs.load(tmp_path / f"model{size}") for size in (1, 2))
    for a, b in zip(one.members, two.members, strict=True):
        for name, value in a.state_dict().items():
            torch.testing.assert_close(b.state_dict()[name], value, rtol=0.02, atol=0.01)  # Adam magnifies rounding


def test_a_batch_is_shared_without_loss() -> None:
    shares = [Team(rank, 3).part(range(10, 19)) for rank in range(3)]
    assert sorted(index for share in shares for index in share) == list(range(10, 19))


def test_a_batch_that_cannot_be_shared_is_refused(blobs: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("veriscope.training.loop.team", lambda device: nullcontext(Team(0, 3)))
    recipe = vs.Recipe(axes="YX", depth=1, base=4, patch=(16, 16), batch=4)
    with pytest.raises(TrainingError, match="batch of 4 patches cannot be shared by 3 processes"):
        vs.train(recipe, blobs(), blobs(), members=1, epochs=1, progress=False)


def test_a_script_that_its_own_workers_would_run_again_says_what_to_write(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    script = tmp_path / "script.py"
    script.write_text("from veriscope.clusters import client_of\nwith client_of(None, 1):\n    print('begun')\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "if __name__ == '__main__':" in done.stderr.splitlines()[-1]
    assert "bootstrapping" not in done.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_members_side_by_side_have_the_weights_of_one_after_the_other(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    rng = np.random.default_rng(0)
    highs = [rng.random((40, 40)).astype("float32") for _ in range(4)]
    lows = [high + rng.normal(0, 0.1, (40, 40)).astype("float32") for high in highs]
    named = zip(lows, highs, "abcd", strict=True)
    pairs = Pairs([Pair(vs.Image(low, "YX"), vs.Image(high, "YX"), name) for low, high, name in named])
    recipe = vs.Recipe(axes="YX", depth=1, base=2, patch=(16, 16), batch=4)
    usual: Any = {"members": 2, "epochs": 1, "progress": False, "per_image": 4, "foreground": None}
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // 2))
    one = vs.train(recipe, pairs, 0.25, **usual)
    torch.set_num_threads(before)
    with client_of(None, 2) as client:
        address = client.scheduler.address
        two = vs.train(recipe, pairs, 0.25, **usual, cluster=address, folder=tmp_path / "model")
    for a, b in zip(one.members, two.members, strict=True):
        assert all(torch.equal(a.state_dict()[name], value) for name, value in b.state_dict().items())
    assert len(vs.load(tmp_path / "model")) == 2
    assert [row["check_loss"] for row in one.facts.history] == [row["check_loss"] for row in two.facts.history]
