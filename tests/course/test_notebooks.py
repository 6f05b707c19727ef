"""Notebooks as files: what is kept of their outputs."""

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from ncourse.course.notebooks import WIDGET_VIEW, clean


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
