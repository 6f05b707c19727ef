"""Notebooks as files: what is kept of their outputs."""

import json
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from ncourse.course.notebooks import WIDGET_VIEW, UnreadableNotebook, cells, clean


def test_cells_are_those_that_nbformat_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    whole = new_notebook(cells=[new_markdown_cell("# a\n\nb"), new_code_cell("x = 1\ny")])
    expected = [("markdown", "# a\n\nb"), ("code", "x = 1\ny")]
    path.write_text(nbformat.writes(whole))
    assert cells(path) == expected
    path.write_text(json.dumps(whole))  # a text, and not a list of lines
    assert cells(path) == expected
    path.write_text(nbformat.writes(nbformat.convert(whole, 3), 3))
    assert cells(path) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '"cells"', '{"nbformat": 4}'),
        '{"nbformat": 4, "cells": [{"cell_type": "code", "source": 1}]}',
        '{"nbformat": 4, "cells": [{"cell_type": 1, "source": ""}]}',
    ],
)
def test_a_file_without_cells_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.ipynb").write_text(text)
    with pytest.raises(UnreadableNotebook, match=r"a\.ipynb is not a notebook"):
        cells(tmp_path / "a.ipynb")


def test_what_is_printed_around_a_progress_bar_is_one_output() -> None:
    bar = new_output("stream", name="stderr", text=" 40%|████      | 4/10 [00:01<00:02,  2.5it/s]")
    printed = [new_output("stream", name="stdout", text=text) for text in ("a\n", "b\n")]
    cell = new_code_cell("x", outputs=[printed[0], bar, printed[1]])
    (only,) = clean(new_notebook(cells=[cell])).cells[0].outputs
    assert only.text == "a\nb\n"
    other = new_output("stream", name="stderr", text="careful\n")
    cell = new_code_cell("x", outputs=[printed[0], other, printed[1]])
    assert len(clean(new_notebook(cells=[cell])).cells[0].outputs) == 3


def _shown(*outputs: NotebookNode) -> list[NotebookNode]:
    cell = new_code_cell(
        "1",
        outputs=list(outputs),
        metadata={"tags": ["x"], "execution": {"iopub.status.busy": "2020-01-01T00:00:00Z"}},
    )
    notebook = new_notebook(cells=[cell], metadata={"widgets": {}, "language_info": {"name": "p"}})
    cleaned = clean(notebook)
    assert len(cell.outputs) == len(outputs), "clean changed its argument"
    assert cleaned.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert cleaned.cells[0].metadata == {"tags": ["x"]}
    return list(cleaned.cells[0].outputs)


VIEW = {WIDGET_VIEW: {"model_id": "1"}, "text/plain": "  0%|          | 0/5"}


def test_clean_drops_progress_bars() -> None:
    assert _shown(new_output("display_data", VIEW)) == []
    assert _shown(new_output("display_data", {})) == []  # what `progress_bar` leaves
    bar = "\r 40%|████      | 2/5 [00:00<00:01,  2.5it/s]\r100%|██████████| 5/5 [00:02<00:00]\n"
    assert _shown(new_output("stream", name="stderr", text=bar)) == []
    assert _shown(new_output("stream", name="stderr", text="\r3it [00:01,  2.5it/s]\n")) == []
    warned = _shown(new_output("stream", name="stderr", text=bar + "UserWarning: look here\n"))
    assert [output.text for output in warned] == ["UserWarning: look here\n"]
    printed = new_output("stream", name="stdout", text="accuracy 40%|yes| 4\n")
    assert _shown(printed) == [printed]


def test_clean_keeps_the_html_of_a_slider() -> None:
    (slider,) = _shown(new_output("display_data", {**VIEW, "text/html": "<div>frames</div>"}))
    assert set(slider.data) == {"text/plain", "text/html"}
