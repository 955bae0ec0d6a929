"""The order of the house: imports point down, nothing heavy is loaded early."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import veriscope

SOURCE = Path(veriscope.__file__).parent
GROUND = "ground"
# From the roof down. A room may use the rooms on lower floors and itself, never its neighbours on the same floor.
FLOORS = [
    ["apps"],
    ["reproducing"],
    ["reporting"],
    ["sharing", "comparing"],
    ["restoring", "classical"],
    ["training"],
    ["patches", "simulate", "networks"],
    ["judging", "objects"],
    ["images"],
    [GROUND],
]
GROUND_MODULES = {
    "axes",
    "tiling",
    "laplace",
    "chance",
    "calibrated",
    "expected",
    "familiarity",
    "looking",
    "textures",
    "changes",
    "cores",
    "normalize",
    "errors",
    "saving",
    "stores",
    "clusters",
    "tables",
    "noise",
    "notebook",
    "version",
    "wording",
}
HEAVY = ("torch", "zarr", "skimage", "scipy", "matplotlib", "tifffile", "imagecodecs", "h5py", "onnx", "openvino")


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name, parsed."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ["veriscope", *path.relative_to(SOURCE).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def imports(tree: ast.Module, known: set[str]) -> set[str]:
    """The modules of this package that `tree` imports, also within functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "veriscope"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports within the package are absolute"
            if (node.module or "").split(".")[0] == "veriscope":
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    if inner in known:
                        found.add(inner)
                    else:
                        found.add(str(node.module))
    return found


def room(module: str) -> str:
    part = module.split(".")[1]
    return GROUND if part in GROUND_MODULES else part


def upward(graph: dict[str, set[str]]) -> list[str]:
    """The imports that do not point down, in words."""
    floor = {name: height for height, rooms in enumerate(reversed(FLOORS)) for name in rooms}
    wrong = []
    for module, used in graph.items():
        if module == "veriscope":  # the front door hands out names from every room, and loads them late
            continue
        for other in used:
            if other == "veriscope":
                wrong.append(f"{module} imports the front door, {other}")
            elif room(other) != room(module) and floor[room(other)] >= floor[room(module)]:
                wrong.append(f"{module} imports {other}")
    return wrong


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Some circle of imports, or an empty list."""
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for other in sorted(graph.get(module, ())):
            if found := walk(other, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := walk(module, []))), [])


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    trees = modules()
    return {name: imports(tree, set(trees)) for name, tree in trees.items()}


def test_every_room_is_on_a_floor(graph: dict[str, set[str]]) -> None:
    rooms = {name for floor in FLOORS for name in floor}
    assert {room(module) for module in graph if module != "veriscope"} <= rooms


def test_imports_point_down(graph: dict[str, set[str]]) -> None:
    assert upward(graph) == []


def test_imports_run_in_no_circle(graph: dict[str, set[str]]) -> None:
    assert circle({name: used for name, used in graph.items() if name != "veriscope"}) == []


def test_the_check_finds_an_upward_a_sideways_and_a_circular_import() -> None:
    code = ast.parse("def f():\n    from veriscope.training import loop\n    import veriscope.patches.sampling")
    used = imports(code, {"veriscope.training.loop", "veriscope.patches.sampling"})
    assert used == {"veriscope.training.loop", "veriscope.patches.sampling"}
    assert upward({"veriscope.networks.unet": used}) != []
    assert len(upward({"veriscope.simulate.psf": used})) == 2
    assert upward({"veriscope.restoring.restore": used}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]


def test_functions_take_few_parameters() -> None:
    """Ten at most; those of commands are options."""
    many = []
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if room(module + ".") in ("restoring", "images") and isinstance(node, ast.FunctionDef):
                given = node.args
                names = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
                if len([name for name in names if name.arg != "self"]) > 10:
                    many.append(f"{module}.{node.name}")
    assert many == []


def loaded_by(code: str) -> set[str]:
    """Which of the heavy libraries are loaded after `code` ran in a fresh interpreter."""
    code += "\nimport sys\nprint('loaded:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = set(done.stdout.rsplit("loaded:", 1)[1].split())
    assert "veriscope" in names
    return names & set(HEAVY)


def test_importing_veriscope_is_light_and_silent() -> None:
    assert loaded_by("import veriscope") == set()
    assert loaded_by("import veriscope as vs; vs.classical.denoise.median") == set()
    done = subprocess.run([sys.executable, "-c", "import veriscope"], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["train", "--help"], ["restore", "--help"], ["simulate", "camera", "--help"]],
)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = f"""
from veriscope.apps.cli import main
try:
    main({words!r})
except SystemExit as end:
    assert end.code in (0, None), end.code
"""
    assert loaded_by(code) == set()


def test_every_name_of_the_front_door_can_be_fetched() -> None:
    for name in veriscope.__all__:
        assert getattr(veriscope, name) is not None
    assert set(veriscope.__all__) <= set(dir(veriscope))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = veriscope.nonsense
