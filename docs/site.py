"""What mkdocs does with our pages beside showing them: files of the repository that they link to come along."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
BESIDE = re.compile(r"\]\(\.\./([^)#\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Copy every file that a page links to outside docs/, under repository/."""
    for page in list(files.documentation_pages()):
        if page.src_uri.endswith(".md"):
            for name in BESIDE.findall(Path(page.abs_src_path).read_text(encoding="utf-8")):
                place = f"repository/{name}.txt" if name.endswith((".md", ".py")) else f"repository/{name}"
                if (ROOT / name).is_file() and files.get_file_from_path(place) is None:
                    files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead those links there."""

    def moved(match: re.Match[str]) -> str:
        name = match[1]
        return f"](repository/{name}.txt)" if name.endswith((".md", ".py")) else f"](repository/{name})"

    return BESIDE.sub(moved, markdown)
