from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import veriscope as vs
from veriscope.errors import ModelError, OutputError, TrainingError
from veriscope.networks import folder as files
from veriscope.training.losses import mse
from veriscope.training.progress import Step

TINY = vs.Recipe(axes="YX", depth=1, base=4, patch=(16, 16), batch=4, learning_rate=5e-3, precision="float32")


class StopAt:
    """A listener that interrupts, as Ctrl-C would, after a step of a member."""

    def __init__(self, member: int, step: int) -> None:
        self.at = (member, step)

    def __call__(self, report: Step) -> None:
        if (report.member, report.step) == self.at:
            raise KeyboardInterrupt


def losses(ensemble: Any) -> list[tuple[float, float]]:
    return [(row["loss"], row["check_loss"]) for row in ensemble.facts.history]


def same_weights(a: Any, b: Any) -> bool:
    pairs = zip(a.members, b.members, strict=True)
    return all(torch.equal(x, y) for m, n in pairs for x, y in zip(m.parameters(), n.parameters(), strict=True))


def test_training_lowers_the_checked_loss(blobs: Any) -> None:
    ensemble = vs.train(TINY, blobs(), blobs(), members=1, epochs=40, progress=False)
    first, *_, last = losses(ensemble)
    assert last[1] < first[1] - 0.1


def test_the_best_checked_weights_are_returned(blobs: Any) -> None:
    ensemble = vs.train(TINY, blobs(), blobs(), members=1, epochs=4, progress=False)
    history = ensemble.facts.history
    assert ensemble.facts.scores["check_loss"] == [min(row["check_loss"] for row in history)]


def test_a_seed_gives_the_same_ensemble_and_members_differ(blobs: Any) -> None:
    first, again, other = (
        vs.train(TINY, blobs(), blobs(), members=2, epochs=2, seed=seed, progress=False) for seed in (3, 3, 4)
    )
    assert same_weights(first, again)
    assert losses(first) == losses(again)
    assert not same_weights(first, other)
    assert not torch.equal(first.members[0].mean.weight, first.members[1].mean.weight)


def test_training_leaves_the_callers_random_numbers_alone(blobs: Any) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    vs.train(TINY, blobs(), blobs(), members=1, epochs=1, progress=False)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("stop", [(0, 3), (0, 8), (1, 5)], ids=["before a check", "at a check", "second member"])
@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_resuming_gives_what_an_uninterrupted_run_gives(
    blobs: Any, tmp_path: Path, stop: tuple[int, int], schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veriscope.training.member.SAVE_EVERY", 0.0)  # a checkpoint at every step
    recipe = TINY.change(schedule=schedule, averaging=0.05 if schedule == "cosine" else 0.0, patience=1)
    settings: dict[str, Any] = {"members": 2, "epochs": 3}
    whole = vs.train(recipe, blobs(), blobs(), **settings, folder=tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        vs.train(recipe, blobs(), blobs(), **settings, folder=tmp_path / "cut", progress=StopAt(*stop))
    resumed = vs.train(recipe, blobs(), blobs(), **settings, folder=tmp_path / "cut", resume=True, progress=False)
    assert losses(resumed) == losses(whole)
    assert same_weights(resumed, whole)
    assert same_weights(vs.load(tmp_path / "cut"), whole)
    assert not (tmp_path / "cut" / files.UNFINISHED).exists()


def test_an_interrupted_run_leaves_the_best_weights_so_far(blobs: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        vs.train(TINY, blobs(), blobs(), members=3, epochs=5, folder=tmp_path / "m", progress=StopAt(1, 9))
    stopped = vs.load(tmp_path / "m")
    assert len(stopped) == 2
    assert stopped.facts.training["finished_members"] == 1


def test_a_finished_model_is_whole_and_its_log_reads_as_a_table(blobs: Any, tmp_path: Path) -> None:
    ensemble = vs.train(TINY, blobs(), blobs(), members=2, epochs=2, folder=tmp_path / "m", progress=False)
    with open(tmp_path / "m" / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["member"], row["step"]) for row in rows] == [("0", "4"), ("0", "8"), ("1", "4"), ("1", "8")]
    assert same_weights(vs.load(tmp_path / "m"), ensemble)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "log.csv",
        "member-0.safetensors",
        "member-1.safetensors",
        "recipe.json",
    ]


def test_more_members_can_join_a_finished_ensemble(blobs: Any, tmp_path: Path) -> None:
    vs.train(TINY, blobs(), blobs(), members=1, epochs=1, folder=tmp_path / "m", progress=False)
    more = vs.train(TINY, blobs(), blobs(), members=2, epochs=1, folder=tmp_path / "m", resume=True, progress=False)
    at_once = vs.train(TINY, blobs(), blobs(), members=2, epochs=1, progress=False)
    assert same_weights(more, at_once)


def test_resuming_with_other_settings_is_refused(blobs: Any, tmp_path: Path) -> None:
    vs.train(TINY, blobs(), blobs(), members=1, epochs=1, folder=tmp_path / "m", progress=False)
    with pytest.raises(TrainingError, match=r"trained with other seed.*Resume with the same"):
        vs.train(TINY, blobs(), blobs(), members=1, epochs=1, seed=1, folder=tmp_path / "m", resume=True)


def test_an_existing_model_is_not_replaced_unasked(blobs: Any, tmp_path: Path) -> None:
    vs.train(TINY, blobs(), blobs(), members=1, epochs=1, folder=tmp_path / "m", progress=False)
    before = json.loads((tmp_path / "m" / "recipe.json").read_text())
    with pytest.raises(OutputError, match="exists already"):
        vs.train(TINY, blobs(), blobs(), members=1, epochs=1, seed=1, folder=tmp_path / "m", progress=False)
    assert json.loads((tmp_path / "m" / "recipe.json").read_text()) == before
    replaced = vs.train(
        TINY, blobs(), blobs(), members=1, epochs=1, seed=1, folder=tmp_path / "m", overwrite=True, progress=False
    )
    assert same_weights(vs.load(tmp_path / "m"), replaced)


@pytest.mark.parametrize("before", [False, True], ids=["new", "replaced"])
def test_a_training_that_ends_before_its_first_figures_leaves_no_model(
    blobs: Any, tmp_path: Path, before: bool
) -> None:
    settings: dict[str, Any] = {"members": 1, "epochs": 2, "folder": tmp_path / "m"}
    if before:
        vs.train(TINY, blobs(), blobs(), **settings, progress=False)
    with pytest.raises(KeyboardInterrupt):
        vs.train(TINY, blobs(), blobs(), **settings, overwrite=before, progress=StopAt(0, 1))
    assert not list(tmp_path.rglob("*.*"))
    assert len(vs.train(TINY, blobs(), blobs(), **settings, progress=False)) == 1


def test_what_a_killed_training_left_before_its_first_figures_is_no_model(blobs: Any, tmp_path: Path) -> None:
    vs.train(TINY, blobs(), blobs(), members=1, epochs=1, folder=tmp_path / "m", progress=False)
    described = json.loads((tmp_path / "m" / "recipe.json").read_text())
    (tmp_path / "m" / "member-0.safetensors").unlink()
    (tmp_path / "m" / "recipe.json").write_text(json.dumps(described | {"members": 0}))
    assert not files.occupied(tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("do not touch")
    assert files.occupied(tmp_path / "m")
    (tmp_path / "m" / "notes.txt").unlink()
    vs.train(TINY, blobs(), blobs(), members=1, epochs=1, folder=tmp_path / "m", progress=False)
    assert len(vs.load(tmp_path / "m")) == 1


def test_a_replaced_model_begins_with_a_log_of_its_own(blobs: Any, tmp_path: Path) -> None:
    vs.train(TINY, blobs(), blobs(), members=1, epochs=3, folder=tmp_path / "m", progress=False)

    def look(step: Step) -> None:
        if step.step == 1:
            assert not (tmp_path / "m" / "log.csv").exists()

    vs.train(TINY, blobs(), blobs(), members=1, epochs=1, folder=tmp_path / "m", overwrite=True, progress=look)
    assert len((tmp_path / "m" / "log.csv").read_text().splitlines()) == 2


def test_a_time_budget_is_planned_and_kept(blobs: Any) -> None:
    told: list[Step] = []
    vs.train(TINY, blobs(), blobs(), members=2, minutes=0.05, progress=told.append)
    assert {report.member for report in told} == {0, 1}
    for member in (0, 1):
        *_, last = [report for report in told if report.member == member]
        assert last.step == last.steps > 0
    assert told[-1].done == 1.0


def test_a_budget_that_is_over_at_once_still_gives_checked_members(blobs: Any, tmp_path: Path) -> None:
    """As on a busy machine: the steps that are timed for the plan take all the time there is."""
    ensemble = vs.train(TINY, blobs(), blobs(), members=3, minutes=1e-6, folder=tmp_path / "model", progress=False)
    assert [row["member"] for row in ensemble.facts.history] == [0, 1, 2]
    assert len(vs.load(tmp_path / "model")) == 3


@pytest.mark.parametrize("broken", ["patches", "check"])
def test_nan_stops_with_advice(blobs: Any, broken: str) -> None:
    sources = {"patches": blobs(), "check": blobs()} | {broken: blobs(broken=True)}
    with pytest.raises(TrainingError, match=r"loss became nan at step \d+ of member 1.*learning rate"):
        vs.train(TINY, **sources, members=1, epochs=1, progress=False)


def test_any_function_can_be_the_loss(blobs: Any) -> None:
    recipe = TINY.change(probabilistic=False)
    ensemble = vs.train(recipe, blobs(), blobs(), members=1, epochs=1, loss=mse, progress=False)
    assert ensemble.facts.training["loss"] == "mse"
    plain = vs.train(recipe, blobs(), blobs(), members=1, epochs=1, progress=False)
    assert plain.facts.training["loss"] == "mae"


def test_reduced_precision_trains_too(blobs: Any) -> None:
    ensemble = vs.train(TINY.change(precision="bfloat16"), blobs(), blobs(), members=1, epochs=3, progress=False)
    assert ensemble.facts.training["precision"] == "bfloat16"
    assert all(weights.dtype == torch.float32 for weights in ensemble.members[0].parameters())
    assert losses(ensemble)[-1][1] < losses(ensemble)[0][1]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"epochs": 1, "minutes": 1}, TrainingError, "epochs or minutes, not both"),
        ({"members": 0}, TrainingError, "positive, not 0"),
        ({"epochs": 0}, TrainingError, "positive"),
        ({"minutes": -1}, TrainingError, "positive"),
        ({"patches": {"axes": "ZYX", "shape": (8, 16, 16)}}, ModelError, "axes ZYX, but the recipe is for YX"),
        ({"patches": {"channels_in": 2}}, ModelError, "2 channels in and 1 out"),
        ({"patches": {"shape": (15, 16)}}, ModelError, "multiples of 2 x 2"),
        ({"patches": {"count": 0}}, TrainingError, "no training patches"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    blobs: Any, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    patches = blobs(**changes.pop("patches", {}))
    with pytest.raises(error, match=message):
        vs.train(TINY, patches, blobs(), **{"members": 1, **changes}, progress=False)
