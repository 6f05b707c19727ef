"""What several test modules share: a small course in a temporary folder."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from hypothesis import settings

# Property tests: a share of the same examples at every run, all of them with `ncourse test --slow`,
# many new ones when asked for a night's work.
settings.register_profile("share", max_examples=10, derandomize=True, deadline=None, database=None)
settings.register_profile("whole", settings.get_profile("share"), max_examples=40)
settings.register_profile("long", max_examples=5000, deadline=None, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "share"))

MANIFEST = """
[book]
title = "A small course"
authors = ["A", "B"]
description = "For tests."
language = "en"
src = "notebooks"
[course]
repository = ""
[[paths]]
title = "All"
about = "Both."
chapters = [1, 2]
session = 50
assessment = "None."
[[parts]]
title = "Start"
[[parts.chapters]]
number = 1
file = "01-one.ipynb"
title = "One"
papers = []
minutes = 20
prerequisites = []
objectives = ["Do a", "Do b", "Do c"]
[[parts.chapters]]
number = 2
file = "02-two.ipynb"
title = "Two"
papers = ["first2020"]
minutes = 30
prerequisites = [1]
objectives = ["Do d", "Do e", "Do f"]
"""

REFERENCES = """
@article{first2020,
  label = {First 2020},
  author = {First, Ann Bee},
  title = {On tests},
  journal = {Tests 1},
  year = {2020},
  doi = {10.1/1},
  eprint = {2001.00001}
}
"""


def save_notebook(path: Path, cells: list[str]) -> None:
    """Write a notebook: a cell that starts with `#` and a space is Markdown, any other is code."""
    notebook = nbformat.v4.new_notebook()
    for index, source in enumerate(cells):
        new = (
            nbformat.v4.new_markdown_cell if source.startswith("# ") else nbformat.v4.new_code_cell
        )
        notebook.cells.append(new(source, id=f"cell-{index}"))
    path.write_text(json.dumps(notebook, indent=1) + "\n", encoding="utf-8")


@pytest.fixture
def save() -> Callable[[Path, list[str]], None]:
    """The function that writes a notebook from the sources of its cells."""
    return save_notebook


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """The folder (with a space in its name) of a course with two chapters, headers in place."""
    from ncourse.course import manifest, sync

    root = tmp_path / "a course"
    (root / "notebooks" / "recorded").mkdir(parents=True)
    (root / "book.toml").write_text(MANIFEST)
    (root / "constraints.txt").write_text("numpy==2.0\n")
    (root / "README.md").write_text("# Small\n\n<!-- map -->\n<!-- /map -->\n")
    (root / "notebooks" / "references.bib").write_text(REFERENCES)
    index = "# Small\n\n## Chapters\n\n<!-- map -->\n<!-- /map -->\n"
    (root / "notebooks" / "index.md").write_text(index)
    one = ["# h", "import ncourse.simplex", "# ## A section\n\nWhere $a + b$.", "print(6 * 7)"]
    numbers = 'measured={"b": 1}, control={"c": 2}'
    claim = f'claims.claim("a", True, source="First 2020", data="d", {numbers});'
    two = ["# h", "from ncourse import claims", "# ## Another section\n\n$$x^2$$", "7 * 8", claim]
    save_notebook(root / "notebooks" / "01-one.ipynb", one)
    save_notebook(root / "notebooks" / "02-two.ipynb", two)
    sync.sync(manifest.load(root / "book.toml"))
    return root
