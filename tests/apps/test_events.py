"""`veriscope --events`: what other programs are told, line by line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from veriscope.apps import events

COMMAND = [sys.executable, "-c", "from veriscope.apps.start import main; main()", "--events"]
QUIET = {**os.environ, "OMP_NUM_THREADS": "1"}


def told(text: str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def kinds(heard: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(one["event"] for one in heard))


def test_a_restoration_tells_its_plan_its_progress_its_files_and_the_verdict(veriscope, desk):
    answer = veriscope("--events", "restore", "movie.tif", "--model", "model", "--out", "restored", "--scale")
    heard = told(answer.out)
    assert answer.code == 0
    assert kinds(heard) == ["start", "plan", "progress", "result", "verdict", "end"]
    assert heard[0]["version"] == events.VERSION
    assert heard[-1] == {"event": "end", "code": 0}
    plan = heard[1]
    assert plan["image"]["axes"] == "TYX"
    assert plan["image"]["shape"] == [3, 20, 24]
    assert plan["image"]["voxel_size"] == {"Y": pytest.approx(0.1), "X": pytest.approx(0.1)}
    assert plan["image"]["time_step"] == 2.5
    assert plan["plan"]["frames"] == 3
    results = {one["kind"]: one["path"] for one in heard if one["event"] == "result"}
    assert results == plan["results"]
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in results.values())
    fractions = [one["fraction"] for one in heard if one["event"] == "progress"]
    assert (fractions[0], fractions[-1]) == (None, 1.0)
    assert heard[-2]["text"].endswith("unknown: this model does not know them.")


@pytest.mark.parametrize(
    ("words", "kind", "what", "way_out"),
    [
        (
            ["restore", "new.tif", "--model", "nowhere", "--out", "o"],
            "ModelError",
            "nowhere",
            "the folder that training wrote",
        ),
        (["restore", "new.tif", "--model", "model3d", "--out", "o"], "ModelError", "YX", "Give a stack"),
        (
            ["restore", "new.tif", "--model", "model", "--out", "o", "--memory", "1MB"],
            "DeviceError",
            "1 MB is too small",
            "--memory",
        ),
        (["restor"], "UsageError", "restor", "--help"),
    ],
)
def test_an_error_has_what_is_wrong_and_the_way_out(veriscope, desk, words, kind, what, way_out):
    answer = veriscope("--events", *words)
    said = veriscope(*words)
    error, end = told(answer.out)[-2:]
    assert error["event"] == "error"
    assert error["kind"] == kind
    assert what in error["what"]
    assert way_out in error["way_out"]
    measured = re.compile("[0-9.]+ ?[MG]B")  # what the program holds changes
    assert measured.sub("", said.err.strip()) == measured.sub("", f"error: {error['text']}")  # what people are told
    assert end == {"event": "end", "code": 2}
    assert answer.code == said.code == 2
    assert not (desk / "o").exists()


def test_judging_and_metadata_come_as_values(veriscope, desk):
    heard = told(veriscope("--events", "judge", "low", "high", "--model", "model", "--axes", "YX").out)
    figures = next(one for one in heard if one["event"] == "figures")["figures"]
    assert {row["image"] for row in figures["rows"]} == {f"cell{number}" for number in range(4)}
    assert all(isinstance(row["nrmse"], float) for row in figures["rows"])
    heard = told(veriscope("--events", "info", "movie.tif").out)
    assert kinds(heard) == ["start", "facts", "image", "table", "end"]


def test_training_tells_its_losses_and_its_model(veriscope, desk):
    small = {"--members": 1, "--epochs": 2, "--depth": 1, "--base": 2, "--patch": "16,16"}
    options = [word for both in small.items() for word in both]
    heard = told(veriscope("--events", "train", "low", "high", "--axes", "YX", "--out", "mine", *options).out)
    assert {"facts", "progress", "result", "end"} <= set(kinds(heard))
    steps = [one["training"] for one in heard if one["event"] == "progress" and "training" in one]
    assert steps
    assert steps[-1]["check_loss"] is not None
    assert {"event": "result", "kind": "model", "path": str(desk / "mine"), "source": None} in heard


def big_restoration(desk: Path) -> subprocess.Popen[str]:
    """Under way when this returns."""
    tifffile.imwrite(desk / "big.tif", np.random.default_rng(0).integers(0, 4000, (2000, 2000), np.uint16))
    words = ["restore", "big.tif", "--model", "model", "--out", "out", "--tile", "16"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = subprocess.Popen([*COMMAND, *words], text=True, env=QUIET, cwd=desk, **streams)
    assert started.stdout is not None
    while json.loads(line := started.stdout.readline())["event"] != "progress":
        assert line
    return started


@pytest.mark.parametrize("way", ["close", "word"])
def test_closing_stdin_or_a_word_cancels_and_leaves_nothing(desk, way):
    with big_restoration(desk) as started:
        late = threading.Timer(240, started.kill)
        late.daemon = True
        late.start()
        if way == "word":
            started.stdin.write("cancel\n")
            started.stdin.flush()
        else:
            started.stdin.close()
        heard, err = told(started.stdout.read()), started.stderr.read()
    assert [one["event"] for one in heard[-2:]] == ["stopped", "end"]
    assert heard[-1]["code"] == started.returncode == 130
    assert err == ""
    assert not (desk / "out").exists()


def test_a_listener_that_goes_away_ends_the_work(desk):
    with big_restoration(desk) as started:
        started.stdout.close()
        assert started.wait(60) == 130
        assert "Traceback" not in started.stderr.read()
    assert not (desk / "out").exists()


def test_what_a_library_prints_is_no_event(monkeypatch, capsys):
    with events.speaking(True, []):
        print("hello from a library")
        events.emit("facts", facts={"nan": float("nan"), "array": np.arange(2), "path": Path("a/µ")})
    written = capsys.readouterr()
    assert written.err == "hello from a library\n"
    assert written.out.isascii()
    assert told(written.out)[-1]["facts"] == {"nan": None, "array": [0, 1], "path": "a/µ"}


def test_work_that_lost_the_interrupt_ends_with_its_next_report(monkeypatch, capsys):
    monkeypatch.setattr(events.os, "read", lambda *_: b"cancel\n")
    monkeypatch.setattr(events.signal, "pthread_kill", lambda *_: None, raising=False)
    with events.speaking(True, []):
        meter = events.Meter("Working")
        events._until_closed(threading.Event())
        with pytest.raises(KeyboardInterrupt):
            meter(1, 2)
    with events.speaking(True, []):
        events.Meter("Something else")(1, 2)
    assert kinds(told(capsys.readouterr().out)) == ["start", "progress"]


def test_a_report_of_progress_comes_a_few_times_a_second(capsys):
    with events.speaking(True, []):
        meter = events.Meter("Working")
        for step in range(1001):
            meter(step, 1000)
    heard = [one for one in told(capsys.readouterr().out) if one["event"] == "progress"]
    assert len(heard) < 100
    assert heard[-1]["fraction"] == 1
    assert heard[-1]["seconds_left"] == 0


def test_the_way_out_is_the_last_sentence():
    assert events.parts("A b. C d.") == {"what": "A b.", "way_out": "C d."}
    assert events.parts("0.1 um is 2. a. Give it.") == {"what": "0.1 um is 2. a.", "way_out": "Give it."}
    assert events.parts("Alone.") == {"what": "Alone.", "way_out": ""}
