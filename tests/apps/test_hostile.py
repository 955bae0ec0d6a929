"""Bad inputs made by the hundred: whatever is read or typed, a command works or ends in one message.

Drawn anew, and by the thousand, with HYPOTHESIS_PROFILE=explore.
"""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import socket
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from veriscope.apps import cli, options, simulate
from veriscope.images.image import Image
from veriscope.images.reading import SUFFIXES, read_image
from veriscope.images.writing import save_image

Answer = Any
SECONDS, GIGABYTES = 60, 1.5  # more than any of these tiny inputs may take
MORE = 20 if settings.get_current_profile_name() == "explore" else 1


def examples(count: int) -> settings:
    return settings(
        max_examples=count * MORE,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@contextmanager
def bounded() -> Iterator[None]:
    """Fail what takes too long or too much memory."""

    def late(*_: object) -> None:
        raise AssertionError(f"took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) / 1e6
    assert grown < GIGABYTES, f"took {grown:.1f} GB"


def contents(place: Path) -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}
    for folder, folders, names in os.walk(place):
        for name in [*names, *folders]:
            path = Path(folder, name)
            key = str(path.relative_to(place))
            found[key] = path.read_bytes() if path.is_file() and not path.is_symlink() else "special"
    return found


def check(answer: Answer, before: dict[str, bytes | str], several: bool = False) -> None:
    """One message or a result; inputs as they were, nothing unfinished, and what was made can be read."""
    after = contents(Path())
    assert answer.code in (0, 2), answer
    assert "Traceback" not in answer.err + answer.out
    if answer.code == 2:
        told = [line for line in answer.err.splitlines() if line.startswith("error: ")]
        assert len(told) == 1 or (several and told), answer.err
    assert {name: after.get(name) for name in before} == before
    made = [Path(name) for name in after if name not in before]
    assert not [path for path in made if path.name.endswith(".partial")]
    for path in made:
        if path.name.endswith(SUFFIXES) and not any(part.name.endswith("zarr") for part in path.parents):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                np.asarray(read_image(path))


@pytest.fixture
def typed(material: Path, veriscope: Callable[..., Answer]) -> Callable[..., None]:
    """Type a command at a fresh desk that `spoil` has been at."""

    def run(spoil: Callable[[], object], *words: object, several: bool = False) -> Answer:
        here = Path.cwd()
        with tempfile.TemporaryDirectory() as place:
            desk = Path(place, "desk")
            shutil.copytree(material, desk)
            os.chdir(desk)
            try:
                spoil()
                before = contents(Path())
                with bounded():
                    answer = veriscope(*words)
                check(answer, before, several)
                return answer
            finally:
                os.chdir(here)

    return run


# Files whose bytes are wrong


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A few ways in which a file can be damaged, as a function of its bytes."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["flip", "cut", "zeros", "insert", "repeat", "number"]),
                st.floats(0, 1), st.integers(0, 2**32 - 1), st.integers(1, 64), st.booleans(),
            ),
            min_size=1, max_size=4,
        )
    )  # fmt: skip

    def apply(data: bytes) -> bytes:
        whole = bytearray(data)
        for kind, where, value, length, early in steps:
            if not whole:
                break
            at = int(where * (min(len(whole), 600) if early else len(whole)))  # headers are where it hurts
            if kind == "flip" and at < len(whole):
                whole[at] ^= 1 << (value % 8)
            elif kind == "cut":
                del whole[at:]
            elif kind == "zeros":
                whole[at : at + length] = bytes(min(length, len(whole) - at))
            elif kind == "insert":
                whole[at:at] = value.to_bytes(4, "little") * (length // 8 + 1)
            elif kind == "repeat":
                whole[at:at] = whole[at : at + length]
            else:
                whole[at : at + 4] = value.to_bytes(4, "little")
        return bytes(whole)

    return apply


def spoiled(path: str, how: Callable[[bytes], bytes]) -> Callable[[], object]:
    return lambda: Path(path).write_bytes(how(Path(path).read_bytes()))


def an_image(path: str) -> None:
    array = np.arange(3 * 40 * 44, dtype=np.uint16).reshape(3, 40, 44) * 7
    array = array if "stack" in path else array[0]
    save_image(path, Image(array, "ZYX"[-array.ndim :], (0.3, 0.1, 0.1)[-array.ndim :]))


COMMANDS = {
    "info": "info {}",
    "restore": "restore {} --model model --out out",
    "segment": "segment {} --out seg",
    "camera": "simulate camera --on {} --photons 20 --out cam",
    "resolution": "resolution {}",
    "judge": "judge {} {} --model model",
    "project": "project {} --out flat",
    "train": "train {} {} --out m --epochs 1 --members 1 --depth 1 --base 2 --patch 16,16 --per-image 1",
}


@examples(60)
@given(damages(), st.sampled_from(["a.ome.tif", "a.tif", "stack.ome.tif", "stack.tif"]), st.sampled_from([*COMMANDS]))
def test_damaged_tiff(typed, how, name, command):
    def spoil() -> None:
        an_image(name)
        spoiled(name, how)()

    typed(spoil, *COMMANDS[command].format(name, "new.tif").split())


@examples(40)
@given(damages(), st.sampled_from(["model/recipe.json", "model/member-0.safetensors"]), st.booleans())
def test_damaged_model(typed, how, name, restore):
    typed(spoiled(name, how), *("restore new.tif --model model --out out" if restore else "info model").split())


@examples(30)
@given(damages(), st.sampled_from(["npz", "npy"]))
def test_damaged_arrays(typed, how, kind):
    def spoil() -> None:
        array = np.random.default_rng(0).random((6, 1, 16, 16), dtype=np.float32)
        if kind == "npz":
            np.savez("patches.npz", X=array, Y=array, axes="SCYX")
            spoiled("patches.npz", how)()
        else:
            np.save("a.npy", array[0, 0])
            spoiled("a.npy", how)()

    command = "train patches.npz --out m --epochs 1 --members 1 --depth 1 --base 2" if kind == "npz" else "info a.npy"
    typed(spoil, *command.split())


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_a_header_that_ends_within_a_bracket(typed, kind):
    """NumPy takes it for one of Python 2, and fails in the tokenizer."""

    def spoil() -> None:
        held = io.BytesIO()
        np.save(held, np.zeros((6, 1, 16, 16), np.float32))
        broken = held.getvalue().replace(b"'shape': (6, 1, 16, 16), }", b"'shape': (6, 1, 16, 16, [ ")
        Path("a.npy").write_bytes(broken)
        with zipfile.ZipFile("a.npz", "w") as archive:
            for name in ("X.npy", "Y.npy"):
                archive.writestr(name, broken)

    answer = typed(spoil, *("train a.npz --out m" if kind == "npz" else "info a.npy").split())
    assert answer.code == 2


# Descriptions whose words are wrong

ODD = [
    None, True, False, 0, -1, 3.5, 1e300, 10**30, -(2**63), 2**31, "", "abc", "NaN", "1e999", "0,1", "\u0000", "µm", [],
    {}, [1], [None], {"a": 1}, [[[]]], "../../etc/passwd", "=1+1", "A" * 5000, 10**9,
]  # fmt: skip
odd = st.sampled_from(ODD)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(way for key, one in inner for way in places(one, (*path, key)))][:400]


def put(value: Any, way: tuple[Any, ...], new: Any) -> Any:
    if not way:
        return new
    value[way[0]] = put(value[way[0]], way[1:], new)
    return value


def twisted(path: str, where: float, new: Any) -> None:
    told = json.loads(Path(path).read_text())
    ways = places(told)
    Path(path).write_text(json.dumps(put(told, ways[int(where * (len(ways) - 1))], new)))


@examples(80)
@given(st.floats(0, 1), odd, st.sampled_from(["info model", "restore new.tif --model model --out out --calibrated"]))
def test_twisted_recipe(typed, where, new, command):
    typed(lambda: twisted("model/recipe.json", where, new), *command.split())


@examples(50)
@given(
    st.sampled_from([
        "axes", "channels_in", "channels_out", "probabilistic", "depth", "kernel", "base", "residual", "task",
        "projection", "upsample", "stem", "patch", "batch", "learning_rate", "schedule", "scale_weight", "warmup",
        "patience", "averaging", "clip", "weight_decay", "precision", "epochs",
    ]),
    st.one_of(odd, st.sampled_from([8, 4096, 9999, 10**6, 10**9 + 1, 4.0, 5, [1e300, 1e300], [10**9], "no", 63, 64])),
)  # fmt: skip
@example("patch", ["abc"])
@example("base", 4.0)
@example("kernel", 10**9 + 1)
@example("stem", 10**6)
@example("channels_in", 10**9)
@example("upsample", [1e300, 1e300])
@example("depth", True)
@example("probabilistic", "no")
@example("residual", 5)
def test_every_field_of_a_recipe_is_checked(typed, name, value):
    def spoil() -> None:
        told = json.loads(Path("model/recipe.json").read_text())
        told["recipe"][name] = value
        Path("model/recipe.json").write_text(json.dumps(told))

    typed(spoil, "restore", "new.tif", "--model", "model", "--out", "out")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000 + "]" * 5000,
        '{"a":' * 5000 + "1" + "}" * 5000,
        '{"format": NaN}',
        '{"format": Infinity}',
        "null",
        "1",
    ],
    ids=["lists", "groups", "nan", "infinity", "null", "number"],
)
def test_a_recipe_that_is_no_recipe(typed, text):
    answer = typed(lambda: Path("model/recipe.json").write_text(text), "info", "model")
    assert answer.code == 2


@examples(60)
@given(
    st.sampled_from([
        "DimensionOrder", "Type", "SizeX", "SizeY", "SizeZ", "SizeC", "SizeT", "PhysicalSizeX", "PhysicalSizeZ",
        "PhysicalSizeXUnit", "TimeIncrement", "IFD", "PlaneCount", "FirstZ", "Name", "ID", "Interleaved", "UUID",
    ]),
    odd,
    st.sampled_from(["info", "restore"]),
)  # fmt: skip
def test_twisted_ome_xml(typed, name, value, command):
    def spoil() -> None:
        an_image("stack.ome.tif")
        with tifffile.TiffFile("stack.ome.tif") as tif:
            xml, array = tif.ome_metadata, tif.asarray()
        import re

        text = str(value).replace('"', "").replace("<", "")
        xml = re.sub(f' {name}="[^"]*"', f' {name}="{text}"', xml) if f" {name}=" in xml else xml
        tifffile.imwrite(
            "stack.ome.tif", array, description=xml.encode("utf-8"), metadata=None, photometric="minisblack"
        )

    typed(spoil, *COMMANDS[command].format("stack.ome.tif", "").split())


@examples(80)
@given(st.floats(0, 1), odd, st.sampled_from(["0.4", "0.5"]), st.booleans(), st.sampled_from(["info", "restore"]))
def test_twisted_zarr(typed, where, new, version, of_group, command):
    def spoil() -> None:
        save_image("a.zarr", Image(np.ones((40, 44), np.uint16) * 5, "YX", (0.1, 0.1)), version=version)
        names = ("zarr.json", "0/zarr.json") if version == "0.5" else (".zattrs", "0/.zarray")
        twisted(f"a.zarr/{names[not of_group]}", where, new)

    typed(spoil, *COMMANDS[command].format("a.zarr", "").split())


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((10**9, 10**9), (10**9, 10**9)), ((10**9, 10**9), (256, 256)), ((2**31, 64), (2**31, 64)),
        ((2**31, 64), (64, 64)), ((40_000, 40_000), (1, 1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["info", "restore"])
def test_a_zarr_that_only_declares_to_be_large(typed, shape, chunks, command):
    def spoil() -> None:
        group = zarr.open_group("a.zarr", mode="w", zarr_format=2)
        group.create_array("0", shape=shape, chunks=chunks, dtype="uint16")
        axes = [{"name": name, "type": "space"} for name in "yx"]
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]

    answer = typed(spoil, *COMMANDS[command].format("a.zarr", "").split())
    assert answer.code == 2
    assert str(shape[0]) in answer.err


# What is typed

NUMBERS = [
    "1e99",
    "-1e99",
    "nan",
    "inf",
    "-inf",
    "0",
    "-1",
    "1e-300",
    "99999999999999999999",
    "0.5",
    "1e9",
    "2147483648",
]
AROUND = {
    "demo": "--out d", "restore": "new.tif --model model --out out", "judge": "low high --model model",
    "train": "low high --out m --epochs 1 --members 1 --depth 1 --base 2 --patch 16,16 --per-image 1",
    "compare": "low high --methods none", "project": "stack.tif --out flat", "resolution": "new.tif",
    "segment": "new.tif --out seg --threshold 2000", "reproduce": "planaria --out r",
    "simulate camera": "--on new.tif --photons 20 --out cam", "simulate movie": "--out v --size 8,32,32 --frames 2",
    "simulate tubules": "--out t --fields 1 --size 32,32", "simulate granules": "--out g --fields 1 --size 32,32",
}  # fmt: skip


def numeric() -> list[tuple[str, str]]:
    """Every command with every one of its numeric options."""
    found = []
    for app, before in ((cli.app, ""), (simulate.app, "simulate ")):
        for one in app.registered_commands:
            name = before + (one.name or one.callback.__name__)
            found += [(name, option) for option in one.callback.numbers.values()]
    return found


def test_every_numeric_option_has_a_range_or_is_checked_by_the_recipe():
    for app in (cli.app, simulate.app):
        for one in app.registered_commands:
            assert set(one.callback.numbers) <= set(options.RANGES)


@pytest.mark.parametrize(("command", "option"), [pair for pair in numeric() if pair[0] in AROUND], ids=" ".join)
@examples(2)
@given(st.sampled_from(NUMBERS[:5]))
@example("1e99")
@example("nan")
@example("-1")
def test_numbers_out_of_all_reason(typed, command, option, value):
    def spoil() -> None:
        an_image("stack.tif")

    around = AROUND[command].split()
    if option in around:
        at = around.index(option)
        del around[at : at + 2]
    if command == "train" and option == "--minutes":
        around = [word for word in around if word not in ("--epochs",)]
    answer = typed(spoil, *command.split(), *around, f"{option}={value}")
    assert answer.code == 2 or value == "-1", answer


@examples(40)
@given(
    st.sampled_from(["--tile", "--memory", "--channel", "--interval", "--probability", "--dtype", "--axes", "--format",
                     "--device", "--normalize"]),
    st.one_of(st.sampled_from(NUMBERS), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)),
)  # fmt: skip
def test_whatever_is_typed_for_an_option_of_restore(typed, option, value):
    typed(lambda: None, *["restore", "new.tif", "--model", "model", "--out", "out"], f"{option}={value}")


# Names and special files

NAMES = [
    b"caf\xe9.tif", "日本語.tif".encode(), b"a b'c\"d.tif", b"-x.tif", b"=1+1.tif", b"n" * 236 + b".tif", b"a\nb.tif",
    b"[red]x.tif", b"$(date).tif", b"%s%n.tif", b"\xff\xfe.tif", b"..tif", b"a.ome.ome.tif",
]  # fmt: skip


@pytest.mark.parametrize("command", ["restore", "segment", "camera", "project"])
def test_odd_names_are_no_obstacle(typed, command):
    def spoil() -> None:
        Path("in").mkdir()
        an_image("stack.tif")
        for name in NAMES:
            shutil.copy(b"stack.tif" if command == "project" else b"new.tif", b"in/" + name)

    answer = typed(spoil, *COMMANDS[command].format("in", "").split())
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("kind", ["pipe", "socket", "loop", "dangling", "folder", "device"])
@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("x.tif", "info x.tif"), ("x.tif", "restore x.tif --model model --out out"),
        ("x.tif", "segment x.tif --out seg"), ("x.tif", "simulate camera --on x.tif --photons 9 --out cam"),
        ("x.tif", "resolution x.tif"), ("x.tif", "judge x.tif new.tif --model model"),
        ("x.tif", "train x.tif new.tif --out m"), ("x.npz", "train x.npz --out m"), ("model/recipe.json", "info model"),
        ("model/member-0.safetensors", "restore new.tif --model model --out out"),
        ("x.safetensors", "segment new.tif --out seg --classifier x.safetensors"), ("x.zarr/.zattrs", "info x.zarr"),
        ("x.tif", "segment new.tif --truth x.tif"),
        ("x.tif", "train new.tif --task isotropic --psf x.tif --out m"),
    ],
)  # fmt: skip
def test_special_files_never_block(typed, kind, place, command):
    def spoil() -> None:
        path = Path(place)
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(place)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to({"loop": path.name, "dangling": "nowhere", "device": "/dev/zero"}[kind])

    answer = typed(spoil, *command.split())
    assert answer.code == 2, answer
