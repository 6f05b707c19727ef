"""Answers in cells are found, run and judged alike by the decorator and by the grade."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from ncourse.course.manifest import load, without_install_lines
from ncourse.course.notebooks import cells as cells_of
from ncourse.exercises.answers import find_answers, judge

NAMES = {"2.1": "self_duality", "12.1": "weighted_between"}
BODY = """
    centred = class_means - class_means.mean(0)
    return (weight / weight.norm() - centred / centred.norm()).square().sum().item()
"""
CENTRED = "class_means - class_means.mean(0)"
PLAIN = f"def self_duality(weight, class_means):{BODY}"
RIGHT = f'@exercise("2.1")\n{PLAIN}'
WRONG = '@exercise("2.1")\ndef self_duality(weight, class_means):\n    return 0.5\n'
STUB = '@exercise("2.1")\ndef self_duality(weight, class_means):\n    """what."""\n    ...\n'

# What stands in the cells, and what becomes of exercise 2.1.
CELLS: dict[str, tuple[list[str], str, str]] = {
    "plain": ([RIGHT], "solved", ""),
    "without its decorator": ([PLAIN], "solved", ""),
    "timed": (["%%time\n" + RIGHT], "solved", ""),
    "captured and timed": (["%%capture out\n%%time\n" + RIGHT], "solved", ""),
    "a line magic beside it": (["%precision 3\n!true\n" + RIGHT], "solved", ""),
    "a magic after it": ([RIGHT + "\nresult = %timeit -o 1\nx?"], "solved", ""),
    "under an if": (
        ["if True:\n" + "\n".join("    " + x for x in RIGHT.splitlines())],
        "solved",
        "",
    ),
    "under try": (
        ["try:\n" + "\n".join("    " + x for x in RIGHT.splitlines()) + "\nfinally:\n    pass"],
        "solved",
        "",
    ),
    "byte-order mark": (["\ufeff" + RIGHT], "solved", ""),
    "earlier attempts": ([WRONG, WRONG, RIGHT], "solved", ""),
    "the last counts": ([RIGHT, WRONG], "not yet", "you get 0.5"),
    "both in a cell": ([RIGHT + "\n" + WRONG], "not yet", "you get 0.5"),
    "a stub left over": ([RIGHT, STUB], "solved", ""),
    "a stub": ([STUB], "not attempted", ""),
    "decorator of a module": (
        ["import ncourse.exercises as ex\n" + RIGHT.replace("@exercise", "@ex.exercise")],
        "solved",
        "",
    ),
    "decorator by another name": (
        ["from ncourse.exercises import exercise as e", RIGHT.replace("@exercise", "@e")],
        "solved",
        "",
    ),
    "decorator with a keyword": (
        [RIGHT.replace('exercise("2.1")', "exercise(name='2.1')")],
        "solved",
        "",
    ),
    "another decorator too": (
        [RIGHT.replace("\ndef", "\n@torch.no_grad()\ndef")],
        "solved",
        "",
    ),
    "another name": ([RIGHT.replace("def self_duality", "def nc3")], "solved", ""),
    "annotated": (
        [RIGHT.replace("(weight, class_means):", "(weight: Tensor, class_means) -> Number:")],
        "solved",
        "",
    ),
    "an import in its cell": (
        [
            "import torch.nn.functional as F\n"
            + RIGHT.replace("return", "F.relu(weight)\n    return")
        ],
        "solved",
        "",
    ),
    "a helper in its cell": (
        [
            "def centre(x):\n    return x - x.mean(0)\n"
            + RIGHT.replace(CENTRED, "centre(class_means)")
        ],
        "solved",
        "",
    ),
    "an import in another cell": (
        ["import torch.nn.functional as F", RIGHT.replace("return", "F.relu(weight)\n    return")],
        "not yet",
        "what other cells define",
    ),
    "a helper in another cell": (
        ["def centre(x):\n    return x - x.mean(0)", RIGHT.replace(CENTRED, "centre(class_means)")],
        "not yet",
        "NameError: name 'centre' is not defined",
    ),
    "a global default": (
        [RIGHT.replace("class_means)", "class_means=MEANS)")],
        "not yet",
        "stopped before it was called: NameError",
    ),
    "a lambda": (['f = exercise("2.1")(lambda weight, class_means: 1)'], "not yet", "under `@ex"),
    "called by hand": (
        [PLAIN.replace("self_duality", "f") + '\nexercise("2.1")(f)'],
        "not yet",
        "under `@ex",
    ),
    "async": ([RIGHT.replace("def self", "async def self")], "not yet", "write `def`"),
    "a missing colon": ([RIGHT.replace("means):", "means)")], "not yet", "syntax error in line 2"),
    "a missing colon before": ([WRONG.replace("means):", "means)"), RIGHT], "solved", ""),
    "a missing colon after": ([RIGHT, WRONG.replace("means):", "means)")], "solved", ""),
    "a missing colon over a stub": (
        [STUB, WRONG.replace("means):", "means)")],
        "not yet",
        "syntax",
    ),
    "a missing colon elsewhere": ([RIGHT + "\n\ndef other(x)\n    return x"], "solved", ""),
    "another language": (["%%bash\n" + RIGHT], "missing", ""),
    "in a string": (["text = '''" + RIGHT + "'''"], "missing", ""),
    "nothing": (["x = 1"], "missing", ""),
}


@pytest.mark.parametrize("kind", CELLS)
def test_what_is_found_in_cells(kind: str) -> None:
    cells, state, says = CELLS[kind]
    found = find_answers(cells, NAMES).get("2.1")
    if state == "missing":
        assert found is None
        return
    assert found is not None
    if found.problem:
        assert state == "not yet"
        assert says in found.problem
        return
    feedback = judge("2.1", found.source)
    assert (feedback.state, says in feedback.message) == (state, True), feedback
    assert found.is_empty == (state == "not attempted")


@pytest.fixture
def shell() -> Iterator[Any]:
    """IPython as a kernel has it, with its history in memory."""
    settings = Config()
    settings.HistoryManager.hist_file = ":memory:"
    InteractiveShell.clear_instance()
    yield InteractiveShell.instance(config=settings)
    InteractiveShell.clear_instance()


@pytest.mark.filterwarnings("ignore")  # a coroutine that nobody awaits
@pytest.mark.parametrize("kind", CELLS)
def test_the_decorator_says_the_same(kind: str, shell: Any) -> None:
    """In a real shell, cell after cell: the last verdict shown is the one that a grade gives."""
    cells, state, says = CELLS[kind]
    shown: list[str] = []
    shell.display_pub.publish = lambda data, **_: shown.append(data["text/plain"])
    shell.run_cell("import torch\nfrom torch import Tensor\nNumber = float\nMEANS = None")
    shell.run_cell("from ncourse.exercises import exercise", store_history=True)
    for cell in cells:
        shell.run_cell(cell, store_history=True, silent=False)
    said = [text for text in shown if text.startswith("Exercise 2.1")]
    never_ran = kind in ("without its decorator", "in a string", "nothing", "another language")
    unseen = kind in ("captured and timed", "byte-order mark")  # the latter is no cell but a file
    if never_ran or unseen or "missing colon" in kind:  # Python itself says what is wrong
        assert len(said) <= 1
        return
    if kind == "a stub left over":
        assert [text.split(":")[1].split(".")[0].strip() for text in said] == [
            "solved",
            "not attempted",
        ]
        return
    assert f": {state}." in said[-1], said
    assert says in said[-1]


def test_the_last_seeds_message_says_that_it_was_right_before() -> None:
    source = PLAIN.replace("return (", "return 0.1 if abs(weight).max() > 9.9 else (")
    seeds = (0, *range(1, 40))
    feedback = judge("2.1", source, seeds=seeds)
    assert feedback.state == "not yet"
    assert feedback.message.startswith("Right on the notebook's data, and not on other data")


def test_earlier_exercises_of_the_chapter_are_at_hand_and_later_ones_are_not() -> None:
    source = (
        "def outside_term(activations, slopes, weight, penalty):\n"
        "    return unseen(activations @ slopes / activations.shape[1], weight) / penalty"
    )
    assert judge("7.2", source).state == "solved"
    cheat = "def unseen(outer, weight):\n    return outside_term(outer, weight, outer, weight)"
    assert "NameError" in judge("7.1", cheat).message


def test_the_source_is_as_it_was_written() -> None:
    cell = RIGHT.replace("    return", "    # why\n    return")
    assert "# why" in find_answers([cell], NAMES)["2.1"].source
    nested = "if True:\n" + "\n".join(f"    {line}" for line in cell.splitlines())
    both = [find_answers([one], NAMES)["2.1"].source.strip() for one in (cell, nested)]
    assert both[0] == both[1]


def test_imports_of_each_chapter_are_those_of_its_first_cell() -> None:
    """What an answer may use is what its reader has: all but figures, claims and the exercises."""

    def names(source: str) -> set[tuple]:
        return {
            (getattr(node, "module", None), alias.name, alias.asname)
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
            if not str(getattr(node, "module", "")).startswith(
                ("ncourse.exercises", "ncourse.figures", "ncourse.claims")
            )
        }

    book = load(Path("book.toml"))
    for chapter in book.chapters:
        module = importlib.import_module(f"ncourse.exercises.chapter{chapter.number:02d}")
        first = next(c for c in cells_of(book.path(chapter)) if c.cell_type == "code")
        assert names(module.IMPORTS) == names(without_install_lines(first.source)), chapter.number


def test_a_default_generator_is_not_touched() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    judge("2.1", PLAIN)
    assert torch.equal(before, torch.get_rng_state())
