"""The nodes for KNIME, run as a workflow runs them, against a stand-in for KNIME and with the real veriscope."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from veriscope.apps.cli import main
from veriscope.networks import build
from veriscope.networks.folder import save
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe

pd = pytest.importorskip("pandas", reason="KNIME's tables are pandas': pip install '.[test]'")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def knime() -> Any:
    """The stand-in, with the nodes in it."""
    before = set(sys.modules)
    sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "plugins" / "knime" / "src")]
    import knime_stub

    knime_stub.install()
    import veriscope_nodes  # noqa: F401

    yield knime_stub
    del sys.path[:2]
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("knime", "knime_stub", "veriscope_nodes", "veriscope_run"):
            del sys.modules[name]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    program = tmp_path / "env" / "bin" / "veriscope"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\nfrom veriscope.apps.start import main\nmain()\n")
    program.chmod(0o755)
    torch.manual_seed(0)
    recipe = Recipe("YX", depth=1, base=2, batch=1)
    save(Ensemble(recipe, tuple(build(recipe) for _ in range(2)), {}), tmp_path / "model")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = rng.poisson(50, (40, 36)).astype(np.uint16)
        tifffile.imwrite(f"{name}.tif", pixels, imagej=True, resolution=(10, 10), metadata={"unit": "um"})
    tifffile.imwrite("stack.tif", rng.poisson(50, (5, 40, 36)).astype(np.uint16), imagej=True, metadata={"axes": "ZYX"})
    (tmp_path / "no.tif").write_text("no image")
    return tmp_path


def table(knime: Any, *names: str) -> Any:
    return knime.Table.from_pandas(pd.DataFrame({"Plate": list(range(len(names))), "Path": list(names)}))


def test_the_nodes_have_the_ports_and_words_that_knime_shows(knime):
    ports = {name: (len(node.ports["in"]), len(node.ports["out"])) for name, node in knime.NODES.items()}
    assert ports == {"Restore Images": (1, 1), "Judge": (0, 1), "Read Image Metadata": (1, 1)}
    said = (ROOT / "plugins/knime/knime.yml").read_text()
    for name in re.findall(r"(?:extension_module|env_yml_path|license_file): (.+)", said):
        assert (ROOT / "plugins/knime" / name).is_file()


def test_images_are_restored_as_on_the_command_line_and_one_bad_image_has_its_reason(knime, desk):
    context = knime.ExecutionContext()
    asked = {"model": "model", "folder": "out", "scale": True, "interval": 90.0, "program": "env"}
    given = knime.run("Restore Images", table(knime, "a.tif", "no.tif", "b.tif"), context=context, **asked).to_pandas()
    with pytest.raises(SystemExit):
        main("restore a.tif b.tif --model model --out cli --scale --interval 0.9".split())  # noqa: SIM905
    for row, name in ((0, "a"), (2, "b")):
        for column, part in (("Restored", ""), ("Scale", ".scale"), ("Lower", ".lower"), ("Upper", ".upper")):
            written = tifffile.imread(given[column][row])
            np.testing.assert_array_equal(written, tifffile.imread(f"cli/{name}{part}.ome.tif"))
    assert list(given["Plate"]) == [0, 1, 2]
    assert given["Problem"].isna().tolist() == [True, False, True]
    assert "no.tif" in given["Problem"][1]
    assert "is unknown" in given["Verdict"][0]
    assert context.warnings == ["1 of 3 images could not be restored: see the column Problem."]
    reported = [progress for progress, _ in context.progress]
    assert reported == sorted(reported)
    assert reported[-1] == 1.0


def test_a_wrong_model_is_said_in_the_words_of_the_command_line(knime, desk):
    with pytest.raises(RuntimeError, match=r"There is no model at 'nowhere'. Give the folder that training wrote"):
        knime.run("Restore Images", table(knime, "a.tif", "b.tif"), model="nowhere", folder="out", program="env")
    assert not (desk / "out").exists()


@pytest.mark.parametrize("model", ["planes", "stacks", "channels", "surface", "isotropic"])
def test_every_kind_of_image_has_the_values_of_the_command_line(knime, desk, material, model):
    names = [name for name, case in material.cases.items() if case.model == model and "--planes" not in case.words]
    paths = [str(material.folder / f"{name}.tif") for name in names]
    wrong = str(desk / "a.tif")
    asked = {"model": str(material.folder / model), "folder": "out", "program": "env"}
    given = knime.run("Restore Images", table(knime, *paths, wrong), **asked).to_pandas()
    for row, name in enumerate(names):
        wanted = tifffile.imread(material.by_command(name) / f"{name}-restored.tif")
        np.testing.assert_array_equal(tifffile.imread(given["Restored"][row]).squeeze(), wanted)
    if model in ("stacks", "surface"):
        assert "stacks (ZYX), but the image has the axes YX. Give a stack" in given["Problem"][len(names)]


def test_too_little_memory_is_said_on_the_node(knime, desk):
    asked = {"model": "model", "folder": "out", "memory": "1MB", "program": "env"}
    with pytest.raises(RuntimeError, match=r"Memory of 1 MB is too small.*Allow at least that"):
        knime.run("Restore Images", table(knime, "a.tif"), **asked)
    assert not (desk / "out").exists()


def test_cancelling_leaves_nothing(knime, desk, material):
    context = knime.ExecutionContext()
    context.cancel = lambda: len(context.progress) > 0
    large = table(knime, str(material.folder / "large.tif"))
    with pytest.raises(RuntimeError, match="Cancelled: nothing unfinished was left behind"):
        knime.run("Restore Images", large, context=context, model="model", folder="out", program="env")
    assert not (desk / "out").exists()


def test_judging_gives_a_row_for_each_image_and_method(knime, desk):
    for kind in ("low", "high"):
        (desk / kind).mkdir()
        for name in ("a", "b"):
            pixels = tifffile.imread(f"{name}.tif") * (2 if kind == "high" else 1)
            tifffile.imwrite(f"{kind}/{name}.tif", pixels)
    given = knime.run("Judge", low="low", high="high", model="model", axes="YX", program="env").to_pandas()
    assert list(zip(given["Image"], given["Method"], strict=True)) == [
        (name, method) for name in ("a", "b") for method in ("input", "restoration")
    ]
    assert (given["NRMSE"][given["Method"] == "input"] < 1e-5).all()
    assert (given["NRMSE"][given["Method"] == "restoration"] > 1e-5).all()


def test_metadata_come_as_columns(knime, desk):
    given = knime.run("Read Image Metadata", table(knime, "a.tif", "stack.tif", "no.tif"), program="env").to_pandas()
    assert given["Axes"][:2].tolist() == ["YX", "ZYX"]
    assert given["Size Z"][:2].tolist() == [1, 5]
    assert given["Size X"][:2].tolist() == [36, 36]
    assert given["Voxel X (µm)"][0] == pytest.approx(0.1)
    assert given["Voxel X (µm)"].isna().tolist() == [False, True, True]
    assert "no.tif" in given["Problem"][2]


@pytest.mark.parametrize(
    ("name", "columns", "parameters", "message"),
    [
        ("Restore Images", {"Path": ["a.tif"]}, {"folder": "out"}, "Model is missing"),
        ("Restore Images", {"Path": ["a.tif"]}, {"model": "model"}, "Folder for results is missing"),
        ("Restore Images", {"Number": [1]}, {"model": "model", "folder": "out"}, "no column of paths"),
        ("Restore Images", {"Path": ["a"]}, {"model": "m", "folder": "o", "column": "Other"}, "no column 'Other'"),
        ("Restore Images", {"Path": ["a"], "Verdict": ["b"]}, {"model": "m", "folder": "o"}, "columns Verdict already"),
        ("Judge", None, {"low": "low"}, "High is missing"),
    ],
)
def test_what_cannot_run_is_refused_before_it_runs(knime, desk, name, columns, parameters, message):
    tables = [] if columns is None else [knime.Table.from_pandas(pd.DataFrame(columns))]
    with pytest.raises(knime.InvalidParametersError, match=message):
        knime.run(name, *tables, **parameters)


def test_a_missing_program_is_said_with_how_to_install_it(knime, desk, monkeypatch):
    monkeypatch.setenv("PATH", str(desk))
    for chosen in ("", "nowhere"):
        with pytest.raises(FileNotFoundError, match="Install it in a Python environment"):
            knime.run("Restore Images", table(knime, "a.tif"), model="model", folder="out", program=chosen)


def test_many_paths_go_into_several_commands(knime):
    import veriscope_run

    paths = [f"/a/long/path/of/an/image/{number:06d}.tif" for number in range(2000)]
    batches = veriscope_run.batches([*paths, paths[0]])
    assert len(batches) > 1
    assert [path for batch in batches for path in batch] == paths
    assert all(sum(len(path) + 3 for path in batch) <= veriscope_run.LONGEST for batch in batches)


def test_the_text_for_the_python_script_node_works(knime, desk, monkeypatch):
    text = next(iter(re.findall(r"```text\n(PROGRAM.*?)```", (ROOT / "docs/knime.md").read_text(), re.DOTALL)))
    text = text.replace('"veriscope"', repr(str(desk / "env/bin/veriscope"))).replace("/data/", f"{desk}/")
    knime.install(input_tables=[table(knime, "a.tif", "stack.tif")])
    exec(compile(text, "docs/knime.md", "exec"), {})
    given = sys.modules["knime.scripting.io"].output_tables[0].to_pandas()
    assert Path(given["Restored"][0]).is_file()
    assert "stack.tif" in given["Problem"][1]
