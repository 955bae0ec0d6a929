"""Outputs are declared in one list: what is in it is written, restored, offered, and refused where a model cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriscope.apps.restore import Outputs
from veriscope.errors import ModelError
from veriscope.images.image import Image
from veriscope.images.reading import read_image
from veriscope.networks.model import Ensemble
from veriscope.restoring import outputs
from veriscope.restoring.outputs import BY_NAME, OUTPUTS, Files, Output, check
from veriscope.restoring.prepared import plan, prepare
from veriscope.restoring.restore import restore
from veriscope.restoring.settings import USUAL, Settings
from veriscope.restoring.spread import Spread
from veriscope.restoring.tofile import More, restore_to_file

Make = Callable[..., Any]


def test_every_output_is_a_keyword_and_an_option() -> None:
    names = [output.name for output in OUTPUTS]
    assert list(Files.__annotations__) == names
    assert list(Outputs.__dataclass_fields__) == names
    assert set(More.__annotations__) == {*USUAL, *names, *Spread.__annotations__}
    assert set(USUAL) == set(Settings.__annotations__)
    suffixes = [file for output in BY_NAME.values() for file in output.files]
    assert len(set(suffixes)) == len(suffixes)


def test_one_entry_is_all_that_a_new_output_needs(
    ensemble: Ensemble, noise: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread = Output(
        "spread", ("least", "most"), "What members predict", lambda of: lambda means, *_: (means.min(0), means.max(0))
    )
    monkeypatch.setattr(outputs, "OUTPUTS", (*OUTPUTS, spread))
    monkeypatch.setitem(BY_NAME, "spread", spread)
    image = Image(noise((20, 24)), "YX")
    paths = tmp_path / "least.tif", tmp_path / "most.tif"
    report = restore_to_file(image, ensemble, tmp_path / "out.tif", tile=8, spread=paths)  # type: ignore[call-arg]
    assert [written.kind for written in report.outputs] == ["mean", "least", "most"]
    held = restore(image, ensemble)
    for path, shown, reduced in zip(paths, held.output("spread"), (np.min, np.max), strict=True):
        np.testing.assert_allclose(np.asarray(shown), reduced(held.means, 0))
        np.testing.assert_allclose(np.asarray(read_image(path)), np.asarray(shown), atol=1e-5)


@pytest.mark.parametrize("name", [output.name for output in OUTPUTS])
def test_what_a_model_cannot_give_is_refused_before_anything_is_read(
    name: str, make_ensemble: Make, noise: Make, tmp_path: Path, lazy: Make
) -> None:
    image, behind = lazy(noise((20, 24)), "YX")
    plain, output = make_ensemble(probabilistic=False), BY_NAME[name]
    files = [tmp_path / f"{file}.tif" for file in output.files]
    asked: Any = {name: (*([0.5] if output.takes else []), *files) if output.takes or len(files) > 1 else files[0]}
    with pytest.raises(ModelError, match=f"This model .*, so {name} cannot be given. Remove {name}, or "):
        restore_to_file(image, plain, tmp_path / "out.tif", **asked)
    with pytest.raises(ModelError, match=f"m/nuclei .*, so --{name} cannot be given"):
        check(plain, [output], "m/nuclei", "--{}".format)
    assert behind.largest == 0
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_lacking_for_one_reason_is_named_together(make_ensemble: Make) -> None:
    plain = make_ensemble(probabilistic=False)
    with pytest.raises(ModelError, match="so scale, interval and disagreement cannot be given"):
        check(plain, [BY_NAME[name] for name in ("mean", "scale", "interval", "disagreement")])


@pytest.mark.parametrize("call", [restore, prepare, plan])
def test_unknown_settings_are_refused_at_once(call: Any, ensemble: Ensemble) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'tiles'"):
        call(None, ensemble, tiles=3)


def test_unknown_outputs_are_refused_at_once(ensemble: Ensemble, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'scales'"):
        restore_to_file(None, ensemble, tmp_path / "a.tif", scales=tmp_path / "b.tif")  # type: ignore[arg-type, call-arg]
