"""Problem sets, an exam and their solutions: drawn by a secret, right, and kept apart."""

import math
import re
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from ncourse.course import seminar
from ncourse.course.assignments import AssignmentError, set_by, several_chapters, variants
from ncourse.course.grading import asked_for
from ncourse.course.manifest import load
from ncourse.course.nbgrader import RUBRIC
from ncourse.course.notebooks import write
from ncourse.exercises import find, marked
from ncourse.metrics import measure
from ncourse.simplex import SimplexFrame, cosine_matrix, off_diagonal, simplex_etf
from ncourse.ufm import UFM, optimum

BOOK = load(Path(__file__).parents[2] / "book.toml")
NUMBERS = range(1, len(seminar.SETS) + 1)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_set_has_the_exercises_that_the_secret_draws_and_solutions_apart(
    number: int, tmp_path: Path
) -> None:
    made = seminar.problem_set(BOOK, number, "word", due="today")
    drawn = [v for n in seminar.SETS[number - 1] for v in variants(BOOK.chapter(n), "word")]
    assert set_by(made.notebook.metadata) == drawn
    write(made.notebook, tmp_path / "set.ipynb")
    assert asked_for(tmp_path / "set.ipynb") == drawn  # `ncourse grade` takes it
    handed_out = "\n".join(cell.source for cell in made.notebook.cells)
    assert handed_out.count("*Your answer:*") == seminar.WRITTEN
    assert "graded()" in handed_out
    assert "today" in handed_out
    assert made.solutions.count(RUBRIC) == seminar.WRITTEN
    assert RUBRIC not in handed_out
    for name in drawn:
        assert f"## Exercise {name} · " in handed_out
        assert f"## Exercise {name} · " in made.solutions
    answers = re.findall(r"^\*Chapter \d\.\* (.+)$", made.solutions, re.MULTILINE)
    assert len(answers) == seminar.WRITTEN
    assert not any(answer[:60] in handed_out for answer in answers)
    other = seminar.problem_set(BOOK, number, "another", due="today")
    assert other.notebook.metadata != made.notebook.metadata
    again = seminar.problem_set(BOOK, number, "word", due="today")
    assert again == made


@pytest.mark.parametrize("entry", marked.MARKED, ids=lambda entry: entry.name)
def test_a_model_solution_is_a_program_that_gives_the_answer(entry: marked.Marked) -> None:
    """Run on its own, it says what the reference says: nothing that it needs is left out."""
    imports = (
        "import itertools, math\nimport torch\n"
        "from torch.nn.functional import normalize, one_hot\n"
        "from ncourse.exercises.marked import *\nfrom ncourse.exercises import marked as m\n"
        "globals().update({k: v for k, v in vars(m).items() if k.isupper()})\n"
    )
    for variant in {0, len(entry.variants) - 1}:
        name = f"{entry.name}v{variant}"
        program = seminar.model_solution(name)
        known: dict = {}
        exec(imports + program, known)
        reference = entry.reference(*entry.variants[variant])
        mine = known[reference.__name__]
        for case in find(name).cases(torch.Generator().manual_seed(1)):
            copies = [x.clone() if isinstance(x, torch.Tensor) else x for x in case]
            wanted, got = reference(*case), mine(*copies)
            assert repr(wanted) == repr(got)


def test_the_exam_is_an_hour_from_the_objectives_of_ten_questions() -> None:
    asked, solved = seminar.exam(BOOK, "word")
    assert sum(question.minutes for question in seminar.EXAM) == 60
    served = {(question.chapter, question.objective) for question in seminar.EXAM}
    assert len(served) == len(seminar.EXAM)
    quiz = "\n".join(BOOK.path(c).read_text(encoding="utf-8") for c in BOOK.chapters)
    for chapter, objective in served:
        assert BOOK.chapter(chapter).objectives[objective - 1] in solved
        assert f"(objective {objective})" in quiz
    assert asked.count("\n## ") == solved.count("\n## ") == len(seminar.EXAM)
    for text in asked.split("\n## ")[1:]:
        assert text.partition("\n\n")[2].strip() in solved
    marking = re.findall(r"\*(?!Chapter)[^*\n]*(?:points|each)[^*\n]*\*\n", solved)
    assert len(marking) == len(seminar.EXAM)
    assert "points for" not in asked
    assert seminar.exam(BOOK, "word") == (asked, solved)
    assert seminar.exam(BOOK, "another")[0] != asked


def drawn(index: int, seed: int) -> tuple[float, ...]:
    return seminar.EXAM[index].drawn(Random(seed))[2]


@pytest.mark.parametrize("seed", range(8))
def test_the_exam_s_answers_are_what_the_package_measures(seed: int) -> None:
    cosine, least = drawn(0, seed)
    frame = simplex_etf(int(least) + 1, int(least))
    assert off_diagonal(cosine_matrix(frame)).numpy() == pytest.approx(cosine, abs=1e-5)

    (turned,) = drawn(1, seed)
    text = seminar.EXAM[1].drawn(Random(seed))[0]
    old, new = (int(n) for n in re.search(r"from (\d+) to (\d+)", text).groups())  # type: ignore[union-attr]
    before = SimplexFrame(torch.eye(new, dtype=torch.float64)[:old])
    after = SimplexFrame(torch.eye(new, dtype=torch.float64))
    angles = (before.vertices * after.vertices[:old]).sum(1)
    angles = angles / before.vertices.norm(dim=1) / after.vertices[:old].norm(dim=1)
    assert angles.numpy() == pytest.approx(turned)

    nc1, *at = drawn(2, seed)
    samples = torch.tensor(at, dtype=torch.float64)[:, None]
    assert measure(samples, torch.tensor([0, 0, 1, 1])).nc1 == pytest.approx(nc1)

    (most,) = drawn(5, seed)
    count, each = (
        int(n)
        for n in re.search(
            r"(\d+) classes with (\d+)", seminar.EXAM[5].drawn(Random(seed))[0]
        ).groups()  # type: ignore[union-attr]
    )
    for factor, zero in ((1.01, True), (0.99, False)):
        model = UFM(
            num_classes=count,
            samples_per_class=each,
            dim=count,
            lambda_w=most * factor,
            lambda_h=most * factor,
        )
        assert (optimum(model).margin == pytest.approx(0, abs=1e-9)) == zero

    each, dim = drawn(6, seed)
    assert dim < each

    time, start, end, decay = drawn(7, seed)
    assert start * math.exp(-2 * decay * time) == pytest.approx(end)

    one, two, distance, depth = drawn(8, seed)
    steps = np.full(int(depth), distance / depth)
    assert (one, two) == pytest.approx(((steps**2).sum(), 2 * steps.sum()))

    final, anytime, forgot, a, b, c, d, e, f = drawn(9, seed)
    assert final == pytest.approx((d + e + f) / 3)
    assert anytime == pytest.approx((a + (b + c) / 2 + (d + e + f) / 3) / 3)
    assert forgot == pytest.approx((max(a, b, d) - d + max(c, e) - e) / 2)

    first, factor = drawn(4, seed)
    rows = seminar.EXAM[4].drawn(Random(seed))[0].split("| training error |")[1]
    errors, nc1s = (
        [float(x) for x in row.strip(" |").split("|")]
        for row in rows.replace("| NC1 |", "").splitlines()
    )
    assert errors.index(0) + 1 == first
    assert nc1s[int(first) - 1] / nc1s[-1] == pytest.approx(factor)
    assert sorted(nc1s, reverse=True) == nc1s


def test_a_secret_is_needed_and_a_set_that_there_is() -> None:
    with pytest.raises(AssignmentError, match="secret"):
        seminar.problem_set(BOOK, 1, "")
    with pytest.raises(ValueError, match="secret"):
        seminar.exam(BOOK, "")
    with pytest.raises(ValueError, match="there are 2"):
        seminar.problem_set(BOOK, 3, "word")


def test_an_import_that_several_chapters_share_stands_once() -> None:
    made = seminar.problem_set(BOOK, 1, "word").notebook
    first = next(cell.source for cell in made.cells if cell.cell_type == "code")
    lines = first.splitlines()
    assert len(set(lines) - {""}) == len([line for line in lines if line])
    compile(first, "imports", "exec")
    assert several_chapters(BOOK, "Empty", []).cells[0].source.startswith("# Empty")


def test_the_claims_of_the_project_s_page_run_and_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (BOOK.folder / "project.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    assert len(programs) == text.count("\n### ") == 3
    points = [int(n) for n in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
    assert sum(points) == 100
    monkeypatch.chdir(BOOK.folder)
    known: dict = {}
    for program in programs:
        assert program.count("claim(") == 1
        exec(program.replace("\nclaim(", "\nmade = claim("), known)
        assert known["made"].holds
        assert known["made"].control
