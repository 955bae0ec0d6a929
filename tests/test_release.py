"""What a release says of itself, and the site of the documentation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import veriscope

ROOT = Path(__file__).parents[1]


def test_the_version_to_cite_is_that_of_the_package() -> None:
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited is not None
    assert cited[1] == veriscope.__version__


def test_the_readme_is_a_screen_and_a_half() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 90


@pytest.mark.skipif(find_spec("readme_renderer") is None, reason="needs veriscope[docs]")
def test_the_readme_shows_on_pypi() -> None:
    from readme_renderer.markdown import render

    shown = render((ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown is not None
    assert "<h1" in shown


@pytest.mark.skipif(find_spec("mkdocs_jupyter") is None, reason="needs veriscope[docs]")
def test_the_site_is_built_without_a_warning_and_every_page_is_in_it(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    settings = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, env=settings)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in (*ROOT.glob("docs/*.md"), *ROOT.glob("docs/notebooks/*.ipynb")):
        place = tmp_path / "site" / page.relative_to(ROOT / "docs").with_suffix("")
        assert (place / "index.html").exists() or page.name == "README.md"
