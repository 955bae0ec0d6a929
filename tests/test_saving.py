"""A result appears whole or not at all, and nothing is replaced that was not asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from veriscope import saving
from veriscope.errors import OutputError, VeriscopeWarning


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("folder", [False, True])
def test_what_appears_meanwhile_is_not_replaced_but_what_was_asked_for_is(tmp_path, folder):
    final = tmp_path / "a"

    def make(content: str, overwrite: bool) -> str:
        with saving.beside(final, overwrite, folder) as made:
            (made / "x" if folder else made).write_text(content)
        return (final / "x" if folder else final).read_text()

    assert make("mine", overwrite=False) == "mine"
    with pytest.raises(OutputError, match="appeared in the meantime"):
        make("other", overwrite=False)
    assert (final / "x" if folder else final).read_text() == "mine"
    assert make("new", overwrite=True) == "new"
    assert names(tmp_path) == ["a"]


def test_of_many_that_write_one_name_exactly_one_wins(tmp_path):
    def attempt(number: int) -> int | None:
        try:
            saving.write(tmp_path / "a", str(number), overwrite=False)
        except OutputError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        done = [number for number in pool.map(attempt, range(40)) if number is not None]
    assert [str(number) for number in done] == [(tmp_path / "a").read_text()]
    assert names(tmp_path) == ["a"]


def test_a_dangling_link_is_something_that_is_there(tmp_path):
    (tmp_path / "a").symlink_to("nowhere")
    with pytest.raises(OutputError, match="appeared"):
        saving.write(tmp_path / "a", "x", overwrite=False)
    assert (tmp_path / "a").is_symlink()
    saving.write(tmp_path / "a", "x")
    assert not (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("number", [1, 95])  # EPERM, ENOTSUP: disks without hard links
def test_disks_without_hard_links_are_written_all_the_same(tmp_path, monkeypatch, number):
    def refuse(*_: object) -> None:
        raise OSError(number, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    saving.write(tmp_path / "a", "mine", overwrite=False)
    with pytest.raises(OutputError, match="appeared"):
        saving.write(tmp_path / "a", "other", overwrite=False)
    assert (tmp_path / "a").read_text() == "mine"
    assert names(tmp_path) == ["a"]


def test_temporary_names_cannot_be_foreseen_and_every_name_that_a_disk_takes_is_possible(tmp_path):
    made = {saving.fresh(tmp_path / "a").name for _ in range(20)}
    assert len(made) == 20
    for name in ("n" * 255, os.fsdecode(b"caf\xe9"), "日" * 85):
        saving.write(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"
    with pytest.raises(OutputError, match=r"of 256 bytes is too long.*shorter"):
        saving.write(tmp_path / ("n" * 256), "x")


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "usual").write_text("x")
    saving.write(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_a_killed_process_left_is_removed_and_told_and_what_a_living_one_makes_is_not(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from veriscope import saving\n"
        "saving.fresh(Path(sys.argv[1])); (saving.fresh(Path(sys.argv[1]), folder=True) / 'x').write_text('x')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False)
    left = names(tmp_path)
    assert len(left) == 2
    saving._swept.clear()
    mine = tmp_path / left[0].replace(left[0].split("-")[2], str(os.getpid()))
    mine.write_text("x")
    with pytest.warns(VeriscopeWarning, match="removed 2 unfinished results"):
        saving.write(tmp_path / "a", "x")
    assert names(tmp_path) == sorted(["a", mine.name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saving.write(tmp_path / "b", "x")


def test_a_folder_that_was_being_replaced_when_the_process_was_killed_is_not_lost(tmp_path):
    made = tmp_path / f".veriscope-{saving._HERE}-4194304-01234567.partial"
    made.mkdir()
    saving._aside(made).mkdir()
    saving._swept.clear()
    saving.write(tmp_path / "b", "x")
    assert len(names(tmp_path)) == 3
