"""For a seminar with marks: two problem sets and an exam, drawn by a teacher's secret word.

Each comes with its model solutions and how to mark it, in files of their own. Nothing of this is on
the site: exercises are those for marks, written questions those of the teaching pages, and the
exam's numbers are drawn. Another word, another term.
"""

import inspect
import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from types import FunctionType

import numpy as np
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from ncourse.continual import anytime_accuracy, final_accuracy, forgetting
from ncourse.course.assignments import several_chapters, tasks, variants
from ncourse.course.manifest import Book
from ncourse.course.nbgrader import RUBRIC, WORTH, questions
from ncourse.exercises import marked
from ncourse.papers.sukenik2025 import splitting_cost
from ncourse.simplex import growth_cosine

__all__ = ["EXAM", "SETS", "ProblemSet", "Question", "exam", "problem_set"]

SETS = ((1, 2, 3, 4), (5, 6, 7, 8, 9))
"""The chapters of each problem set."""

WRITTEN = 3  # questions to be answered in words, in a set


# --- problem sets -------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProblemSet:
    """A problem set: what students get, and what they do not.

    Attributes:
        notebook: to hand out; `ncourse grade --assignment` takes it.
        solutions: model solutions and how to mark, in Markdown.
    """

    notebook: NotebookNode
    solutions: str


def problem_set(book: Book, number: int, secret: str, *, due: str = "") -> ProblemSet:
    """A problem set: the exercises for marks of its chapters, and questions to answer in words.

    Args:
        book: the course.
        number: of the set, from 1.
        secret: a word of the teacher's, which draws variants and questions.
        due: the date to print.

    Raises:
        AssignmentError: if the secret is empty.
        ValueError: if there is no such set.
    """
    if not 1 <= number <= len(SETS):
        raise ValueError(f"there is no problem set {number}; there are {len(SETS)}")
    chapters = [book.chapter(n) for n in SETS[number - 1]]
    chosen = [(one, task) for one in chapters for task in tasks(book, one, variants(one, secret))]
    random = Random(f"{secret}/{number}")
    asked = [
        (one, *random.choice(questions(book, one))) for one in random.sample(chapters, WRITTEN)
    ]
    title = f"Problem set {number}"
    notebook = several_chapters(book, title, chosen, due=due, solutions=False)
    lines = [f"# {title}: solutions", "", "*For whoever marks it.*", ""]
    lines += [
        "A point a minute. `ncourse grade` marks the code; with `--partial` it gives the share of "
        "a check's cases in which an answer is right.",
    ]
    for _, task in chosen:
        lines += ["", f"## Exercise {task.exercise} · {task.points} points", "", task.text, ""]
        lines += ["```python", model_solution(task.exercise), "```"]
    for index, (chapter, question, answer) in enumerate(asked, start=1):
        text = f"## In words {index} · {WORTH} points\n\n{question}"
        notebook.cells.append(new_markdown_cell(text, id=f"question-{index}"))
        notebook.cells.append(new_markdown_cell("*Your answer:*", id=f"words-{index}"))
        lines += ["", f"## In words {index} · {WORTH} points", "", question, ""]
        lines += [f"*Chapter {chapter.number}.* {answer}", "", RUBRIC]
    return ProblemSet(notebook, "\n".join(lines) + "\n")


def model_solution(name: str) -> str:
    """The course's answer to an exercise for marks: what it uses, its variant, and its source."""
    entry, variant = marked.marked(name)
    given, *sources = _parts(entry.reference(*entry.variants[variant]))
    return "\n\n".join(part for part in (given, *sources) if part)


def _parts(function: Callable) -> list[str]:
    """What a reference was made with, and its source after that of the functions it calls."""
    own = inspect.unwrap(function)
    known = inspect.getclosurevars(own)
    given = [
        f"{name} = {value!r}"
        for name, value in known.nonlocals.items()
        if isinstance(value, str | int | float | tuple)
    ]
    sources: dict[str, None] = {}
    for one in (*known.globals.values(), *known.nonlocals.values()):
        if isinstance(one, FunctionType) and one.__module__ == marked.__name__:
            theirs, *called = _parts(one)
            given += theirs.splitlines()
            sources |= dict.fromkeys(called)
    return ["\n".join(given), *sources, textwrap.dedent(inspect.getsource(own)).strip()]


# --- the exam -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """A question of the exam.

    Attributes:
        chapter: whose objective it examines.
        objective: its number there.
        minutes: that it takes, and points that it gives.
        drawn: numbers from a generator -> the question, the answer, and the answer's numbers.
    """

    chapter: int
    objective: int
    minutes: int
    drawn: Callable[[Random], tuple[str, str, tuple[float, ...]]]


def _bound(random: Random) -> tuple[str, str, tuple[float, ...]]:
    count = random.choice([5, 6, 8, 9, 11])
    cosine = -1 / (count - 1)
    return (
        f"(a) Prove: among {count} unit vectors some pair has cosine {cosine:.4g} or more. "
        "(b) When do all pairs have exactly that? Name the least dimension in which they can.",
        rf"(a) $0 \le \lVert\sum_i x_i\rVert^2 = {count} + "
        r"\sum_{i \ne j}\langle x_i, x_j\rangle$, "
        rf"so the mean of the {count * (count - 1)} cosines is at least $-\frac1{{{count - 1}}}$, "
        "and the largest is at least their mean. (b) When the sum is zero and all cosines are "
        f"alike: a simplex ETF. It needs {count - 1} dimensions. "
        "*3 points for the proof (1 for the expansion alone), 2 for both conditions, 1 for the "
        "dimension.*",
        (cosine, count - 1),
    )


def _growth(random: Random) -> tuple[str, str, tuple[float, ...]]:
    old, new = random.choice([(4, 8), (5, 10), (3, 9), (10, 20)])
    cosine = growth_cosine(old, new)
    half = growth_cosine(old, (old + new) // 2)
    return (
        f"A simplex grows from {old} to {new} classes. (a) By which angle does an old vertex turn? "
        f"(b) It grows in two steps instead, over {(old + new) // 2} classes. By which angle "
        "altogether, and why?",
        rf"(a) $\cos = \sqrt{{(1 - 1/{old})/(1 - 1/{new})}} = {cosine:.4f}$, an angle of "
        f"{math.degrees(math.acos(cosine)):.2f}°. (b) The same: the cosine from the first frame to "
        "the last depends on the two numbers of classes alone; in the product of the two factors "
        f"({half:.4f} and {cosine / half:.4f}) the middle number cancels. *3 points each; 1 in (b) "
        "without a reason.*",
        (cosine,),
    )


def _four_samples(random: Random) -> tuple[str, str, tuple[float, ...]]:
    centre, spread = random.choice([(2, 1), (3, 1), (3, 2), (4, 1), (5, 2)])
    at = [side * centre + step * spread for side in (-1, 1) for step in (-1, 1)]
    nc1 = spread**2 / centre**2
    return (
        f"Two classes on a line: samples at {at[0]} and {at[1]}, and at {at[2]} and {at[3]}. "
        r"(a) Compute $\Sigma_W$, $\Sigma_B$ and $\mathrm{NC1} = "
        r"\operatorname{tr}(\Sigma_W\Sigma_B^\dagger)$. (b) All samples are moved by 7. What "
        "changes? (c) Class means and samples are multiplied by 3. What changes?",
        rf"(a) $\Sigma_W = {spread**2}$, $\Sigma_B = {centre**2}$, $\mathrm{{NC1}} = "
        rf"\frac{{{spread**2}}}{{{centre**2}}} = {nc1:.4g}$. (b) Nothing: both are taken about "
        "means. (c) Both covariances grow ninefold, NC1 stays. *4 points for (a), 2 each for (b) "
        "and (c).*",
        (nc1, *at),
    )


def _ratios(random: Random) -> tuple[str, str, tuple[float, ...]]:
    ratio = random.choice([0.05, 0.1, 0.2, 0.25, 0.5])
    return (
        rf"A network has $\operatorname{{tr}}\Sigma_W/\operatorname{{tr}}\Sigma_B = {ratio}$. "
        r"(a) What is $\operatorname{tr}\Sigma_W/\operatorname{tr}\Sigma_T$? (b) Can you tell "
        r"$\operatorname{tr}(\Sigma_W\Sigma_B^\dagger)$?",
        rf"(a) $\Sigma_T = \Sigma_W + \Sigma_B$, so $\frac{{{ratio}}}{{1 + {ratio}}} = "
        rf"{ratio / (1 + ratio):.4g}$. (b) No: it weighs each direction by how far the means "
        "spread in it, and traces do not say that. *2 points each.*",
        (ratio / (1 + ratio),),
    )


def _terminal(random: Random) -> tuple[str, str, tuple[float, ...]]:
    first = random.choice([3, 4, 5])
    errors = [0.2, 0.05, 0.01, 0.002][: first - 1] + [0.0] * (8 - first)
    start, end = random.choice([(1.2, 0.02), (0.9, 0.03), (1.5, 0.05)])
    values = np.geomspace(start * 2, start, first).round(2).tolist()
    values[-1] = start
    values += np.geomspace(start, end, 8 - first).round(3).tolist()[1:]
    values[-1] = end
    rows = [
        "| epoch | " + " | ".join(map(str, range(1, 8))) + " |",
        "|---|" + "---:|" * 7,
        "| training error | " + " | ".join(f"{error:g}" for error in errors) + " |",
        "| NC1 | " + " | ".join(f"{value:g}" for value in values) + " |",
    ]
    return (
        "(a) Where does the terminal phase begin? (b) By which factor does NC1 fall in it? (c) "
        "Which run do you need beside this one before you say that weight decay did it, and what "
        "must it show?\n\n" + "\n".join(rows),
        f"(a) Epoch {first}, the first with no training error. (b) {start:g}/{end:g} = "
        f"{start / end:.3g}. (c) The same run, seed and all, without weight decay: its error must "
        "reach zero too, and its NC1 must fall much less. *1, 2 and 3 points; in (c) 1 for the "
        "run, 1 for the zero error, 1 for what NC1 must do.*",
        (first, start / end),
    )


def _all_zero(random: Random) -> tuple[str, str, tuple[float, ...]]:
    count, each = random.choice([(4, 25), (10, 100), (5, 36), (8, 64)])
    most = 1 / (count * math.sqrt(each))
    return (
        f"The unconstrained features model, {count} classes with {each} samples each, "
        r"cross-entropy, $\lambda_W = \lambda_H = \lambda$. (a) From which $\lambda$ on is the "
        "optimum zero? (b) With squared error and no bias, below that λ: at which angles do the "
        "class means stand? (c) And with a free bias?",
        rf"(a) From $K\sqrt{{n\lambda^2}} = 1$ on, so $\lambda = \frac1{{{count} \cdot "
        rf"{math.isqrt(each)}}} = {most:.4g}$. (b) At right angles. (c) At the simplex's, cosine "
        rf"$-\frac1{{{count - 1}}}$. *2 points each.*",
        (most,),
    )


def _programme(random: Random) -> tuple[str, str, tuple[float, ...]]:
    each, dim = random.choice([(50, 40), (80, 60), (30, 25)])
    return (
        f"A class has {each} samples in {dim} dimensions, with independent noise in each. (a) Can "
        "a network of two layers, ReLU, no bias, collapse it exactly? Does its width matter? (b) "
        "For another class the programme says no. What is a proof that you can hand to somebody "
        "without a solver?",
        rf"(a) No, whatever the width. Collapse needs a $u$ with $\langle u, x\rangle = 1$ on all "
        rf"{each} samples: {each} equations in {dim} unknowns, which noise makes unsolvable. "
        r"(b) An obstruction: a number $v_i$ for each sample with $\sum_i v_i x_i = 0$, of sum 1 "
        r"over the class and $\le 0$ elsewhere. With a $u$ we had "
        r"$0 = \sum_i v_i\langle u, x_i\rangle \ge 1$. "
        "*3 points each; in (a) 1 without the count of equations.*",
        (each, dim),
    )


def _imbalance(random: Random) -> tuple[str, str, tuple[float, ...]]:
    start, end, decay = random.choice([(4, 1, 0.01), (8, 0.5, 0.005), (6, 2, 0.02)])
    time = math.log(start / end) / (2 * decay)
    return (
        f"Two linear layers in a row start with an imbalance of norm {start}; weight decay is "
        f"{decay}, gradient flow. (a) When has the norm fallen to {end}? (b) What do you have to "
        "know of data and loss? (c) Why does the law not hold for gradient descent with large "
        "steps?",
        rf"(a) $e^{{-2\lambda t}}$, so $t = \frac{{\ln({start / end:g})}}{{2 \cdot {decay}}} = "
        f"{time:.4g}$. (b) Nothing: both layers get the same product of gradient and weights, and "
        "it cancels in the difference. (c) One step adds a term of second order in the step, the "
        "difference of the two squared gradients, which does not cancel. *2 points each.*",
        (time, start, end, decay),
    )


def _depth(random: Random) -> tuple[str, str, tuple[float, ...]]:
    distance, depth = random.choice([(1.5, 9), (2.0, 16), (1.2, 4), (3.0, 25)])
    one, two = (splitting_cost(distance, depth, layers_per_block=n) for n in (1, 2))
    return (
        f"A residual network of {depth} blocks moves a feature by {distance:g} in equal steps. "
        "What is the least sum of squared weights with blocks (a) of one linear layer, (b) of two? "
        "(c) What does a network of four times the depth pay in each case, and what follows for "
        "constant weight decay?",
        rf"(a) ${depth} \cdot ({distance:g}/{depth})^2 = {one:.4g}$. (b) In a block $a^2 + b^2$ "
        rf"with $ab = {distance:g}/{depth}$ is least at $2ab$, in all {two:.4g}. (c) {one / 4:.4g} "
        f"and {two:.4g}: with one layer depth makes a way cheap, so splitting costs less and less; "
        "with two it never does. *2 points each.*",
        (one, two, distance, depth),
    )


def _accuracies(random: Random) -> tuple[str, str, tuple[float, ...]]:
    tens = [random.choice(range(low, 100, 10)) for low in (80, 50, 80, 30, 50, 80)]
    full: list[list[int | None]] = [[tens[0], None, None], [*tens[1:3], None], [*tens[3:]]]
    matrix = np.array([[np.nan if value is None else value / 100 for value in row] for row in full])
    found = (final_accuracy(matrix), anytime_accuracy(matrix), forgetting(matrix))
    rows = ["| after task | 1 | 2 | 3 |", "|---|---:|---:|---:|"]
    for number, row in enumerate(full, start=1):
        shown = ["" if value is None else f".{value}" for value in row]
        rows.append(f"| {number} | {' | '.join(shown)} |")
    return (
        "Accuracies on three tasks. (a) Final accuracy, anytime accuracy, forgetting? (b) Two "
        "methods have the same final accuracy, one forgets more. How can that be?\n\n"
        + "\n".join(rows),
        f"(a) {found[0]:.3f}, {found[1]:.3f}, {found[2]:.3f} (the best ever of an old task minus "
        "its last). (b) It was better before: what it forgot, it had learned. *4 points for (a), 1 "
        "for each number and 1 for all; 2 for (b).*",
        (*found, *(value / 100 for value in tens)),
    )


EXAM = (
    Question(1, 1, 6, _bound),
    Question(1, 4, 6, _growth),
    Question(2, 1, 8, _four_samples),
    Question(2, 3, 4, _ratios),
    Question(3, 2, 6, _terminal),
    Question(4, 2, 6, _all_zero),
    Question(5, 2, 6, _programme),
    Question(6, 1, 6, _imbalance),
    Question(8, 3, 6, _depth),
    Question(9, 4, 6, _accuracies),
)
"""The exam: 60 minutes, a point a minute."""


def exam(book: Book, secret: str) -> tuple[str, str]:
    """The exam, and its solutions with how to mark them, as Markdown.

    Args:
        book: the course.
        secret: a word of the teacher's, which draws the numbers.

    Raises:
        ValueError: if the secret is empty.
    """
    if not secret:
        raise ValueError("the secret that draws the exam is empty; name a word of your own")
    total = sum(question.minutes for question in EXAM)
    head = f"# {book.title}: exam"
    asked = [head, "", f"{total} minutes, {total} points. Pen and paper; a calculator is allowed."]
    solved = [f"{head}, solutions", "", "*For whoever marks it.*"]
    for number, question in enumerate(EXAM, start=1):
        text, answer, _ = question.drawn(Random(f"{secret}/exam/{number}"))
        title = f"## {number} · {question.minutes} points"
        objective = book.chapter(question.chapter).objectives[question.objective - 1]
        asked += ["", title, "", text]
        solved += [
            "",
            title,
            "",
            f"*Chapter {question.chapter}: {objective}.*",
            "",
            text,
            "",
            answer,
        ]
    return "\n".join(asked) + "\n", "\n".join(solved) + "\n"
