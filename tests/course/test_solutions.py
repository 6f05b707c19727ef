"""Hints and solutions on the site: below each exercise, from the registry, or not at all."""

import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ncourse.course import site
from ncourse.course.execution import stored
from ncourse.course.manifest import load
from ncourse.course.solutions import folded, with_solutions
from ncourse.exercises import find

BOOK = load(Path(__file__).parents[2] / "book.toml")


def test_they_stand_after_the_exercise_and_its_hint() -> None:
    stub = new_code_cell('@exercise("3.2")\ndef terminal_epoch(train_error):\n    ...')
    asked = new_code_cell('hint("3.2")')
    after = new_markdown_cell("## After")
    notebook = new_notebook(cells=[new_markdown_cell('`@exercise("3.1")`'), stub, asked, after])
    before = json.dumps(notebook)
    made = with_solutions(notebook)
    assert json.dumps(notebook) == before
    nbformat.validate(made)
    assert [cell.cell_type[0] for cell in made.cells] == list("mccmm")
    assert made.cells[3].source == folded(find("3.2"))
    assert with_solutions(new_notebook(cells=[stub])).cells[1].source == folded(find("3.2"))
    with pytest.raises(KeyError, match=r"no exercise 3\.9"):
        with_solutions(new_notebook(cells=[new_code_cell('@exercise("3.9")')]))


def test_every_hint_and_solution_is_there_and_words_stay_words() -> None:
    text = folded(find("4.4"))
    assert text.count("<details>") == text.count("</details>") == 5
    assert "&lt;w&#95;k − w&#95;l, h&gt;" in text
    assert "```python\ndef " in text
    assert find("4.4").why.split()[0] in text


def test_a_site_for_students_has_neither_solutions_nor_pages_for_teachers(tmp_path: Path) -> None:
    for solutions in (True, False):
        notebooks = stored(BOOK, BOOK.chapters)
        site._write_source(BOOK, notebooks, tmp_path / "book", solutions=solutions)
        files = [p for p in (tmp_path / "book").iterdir() if p.suffix in (".md", ".ipynb", ".yml")]
        pages = {path.name: path.read_text(encoding="utf-8") for path in files}
        text = "\n".join(pages.values())
        assert ("<summary>Solution</summary>" in text) == solutions
        assert any(name.startswith("teaching") for name in pages) == solutions
        assert ("A model answer" in text) == solutions
        assert ('"teaching"' in pages["_toc.yml"]) == solutions
