"""The `ncourse` command: the course from a terminal, on every platform."""

import importlib.metadata
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

try:
    import typer
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
except ModuleNotFoundError as error:
    raise SystemExit(
        f'ncourse: {error.name} is not installed; the command needs: pip install "ncourse[cli]"'
    ) from error

from ncourse.course.manifest import Book, Chapter, ManifestError, load
from ncourse.course.notebooks import UnreadableNotebook
from ncourse.course.references import CitationError
from ncourse.files import write_whole

if TYPE_CHECKING:
    from ncourse.course.assignments import Task

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console()
errors = Console(stderr=True)


def _fail(message: str) -> typer.Exit:
    """Print an error; the caller raises what is returned."""
    errors.print(Text("error: ", style="bold red") + Text.from_ansi(message), soft_wrap=True)
    return typer.Exit(1)


def _version(wanted: bool) -> bool:
    if wanted:
        console.print(f"ncourse {importlib.metadata.version('ncourse')}", highlight=False)
        raise typer.Exit
    return wanted


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """The neural collapse course: read it, build it, test it."""


PACKAGED = Path(__file__).parents[1] / "carried" / "book.toml"
"""The course as a wheel carries it; not there in a checkout."""


def _book(*, to_read: bool = False) -> Book:
    """The course around the working folder, or, to be read only, the one that a wheel carries."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "book.toml").is_file():
            try:
                return load(folder / "book.toml")
            except ManifestError as error:
                raise _fail(f"book.toml: {error}") from None
    if to_read and PACKAGED.is_file():
        return load(PACKAGED)
    raise _fail(
        f"no book.toml in {here} or above it; this command works on a checkout of the course, "
        "so change into its folder first"
    )


def _own(book: Book) -> Path:
    """Where the reader's notebooks are: beside the course, or where a carried one was called."""
    return (Path.cwd() if book.root == PACKAGED.parent else book.root) / "my-course"


def _chapters(book: Book, numbers: list[int] | None) -> list[Chapter]:
    """The chapters with these numbers; all of them if there are none."""
    try:
        return [book.chapter(number) for number in numbers or []] or list(book.chapters)
    except ValueError as error:
        raise _fail(str(error)) from None


@app.command("list")
def list_chapters() -> None:
    """List the chapters with their papers and minutes."""
    book = _book(to_read=True)
    table = Table(title=book.title)
    for column, justify in (
        ("", "right"),
        ("Chapter", "left"),
        ("Paper", "left"),
        ("Min", "right"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for part in book.parts:
        table.add_section()
        table.add_row("", Text(part.title, style="bold"))
        for chapter in part.chapters:
            papers = ", ".join(paper.label for paper in chapter.papers)
            table.add_row(str(chapter.number), chapter.title, papers, str(chapter.minutes))
    table.add_section()
    for chapter in book.drafts:
        papers = ", ".join(paper.label for paper in chapter.papers)
        state = "draft" if book.path(chapter).is_file() else "draft, no notebook yet"
        title = f"{chapter.title} ({state})"
        table.add_row(str(chapter.number), title, papers, str(chapter.minutes))
    console.print(table)


@app.command()
def lab(
    chapter: Annotated[
        int | None, typer.Argument(metavar="[NN]", help="The chapter to open; the first if none.")
    ] = None,
    fresh: Annotated[
        int | None,
        typer.Option(metavar="NN", help="Lay today's notebook of chapter NN beside your own."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Of the server, if 8888 will not do.")] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address and open nothing.")
    ] = False,
) -> None:
    """Open JupyterLab on your own copy of the course, `my-course/`, which updates leave alone."""
    from ncourse.course.working_copy import SETTINGS, working_copy

    book = _book(to_read=True)
    shown = _chapters(book, [] if chapter is None else [chapter])[0]
    laid = _chapters(book, [fresh])[0] if fresh is not None else None
    copy = working_copy(book, laid, _own(book))
    for note in copy.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    opened = copy.laid or shown.file
    console.print(
        f"Welcome to {book.title}: {opened}, in your copy of the course, {copy.folder}. "
        "Stop with Ctrl-C, twice.",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", f"--LabApp.default_url=/lab/tree/{opened}"]
    command.append(f"--LabApp.app_settings_dir={copy.folder / SETTINGS}")
    command += [] if port is None else [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += ["--no-browser"] if no_browser else []
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # containers; Jupyter refuses root otherwise
        command.append("--allow-root")
    os.chdir(copy.folder)
    if os.name == "nt":  # where a process cannot become another one
        raise typer.Exit(subprocess.run(command).returncode)
    sys.stdout.flush()
    os.execv(command[0], command)  # whoever stops this command then stops JupyterLab


@app.command()
def build(
    stored: Annotated[
        bool, typer.Option("--stored", help="Run nothing: show the outputs that are stored.")
    ] = False,
    without_teaching: Annotated[
        bool,
        typer.Option(
            "--without-teaching",
            "--without-solutions",
            help="For students: no solutions, and no pages for teachers.",
        ),
    ] = False,
) -> None:
    """Run the notebooks that have changed, build the site and print its address."""
    from ncourse.course import site
    from ncourse.course.execution import NotebookError
    from ncourse.course.pages import ClaimsError

    book = _book()

    def show(*, as_stored: bool) -> None:
        page = site.build(book, console, as_stored=as_stored, solutions=not without_teaching)
        console.print(f"\nOpen {page.as_uri()}", highlight=False, soft_wrap=True)

    try:
        if not stored and not (book.root / "_build" / "html" / "index.html").is_file():
            _show_what_is_stored(show)
        show(as_stored=stored)
    except (NotebookError, ClaimsError, site.SiteError) as error:
        raise _fail(str(error)) from None


def _show_what_is_stored(show: Callable[..., None]) -> None:
    """A first site, of the stored outputs, for those who wait until the notebooks have run."""
    from ncourse.course.execution import NotebookError

    try:
        show(as_stored=True)
    except NotebookError as error:  # a new chapter has none
        console.print(f"Nothing to read yet: {error}", markup=False, highlight=False)
    else:
        console.print("It shows the outputs that are stored. Now the notebooks are run.\n")


@app.command()
def pdf(
    chapter: Annotated[int, typer.Argument(metavar="NN", help="The chapter's number.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to; by default NN-name.pdf, here.")
    ] = None,
) -> None:
    """Print a chapter of the built site as a handout, with Chromium."""
    from ncourse.course.handout import HandoutError, handout

    book = _book()
    (printed,) = _chapters(book, [chapter])
    out = out or Path(f"{printed.stem}.pdf")
    try:
        handout(book, printed, out)
    except HandoutError as error:
        raise _fail(str(error)) from None
    console.print(f"wrote {out}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def outputs(
    chapters: Annotated[
        list[int] | None, typer.Argument(metavar="[NN]...", help="Chapters; without any, all.")
    ] = None,
) -> None:
    """Write fresh outputs into the notebooks of the course (for those who change them)."""
    from ncourse.course import execution

    book = _book()
    try:
        execution.outputs(book, _chapters(book, chapters), console)
    except execution.NotebookError as error:
        raise _fail(str(error)) from None


@app.command()
def record(
    paper: Annotated[str, typer.Argument(help="A module of ncourse.papers, e.g. papyan2020.")],
    out: Annotated[Path, typer.Argument(help="The JSON file to write.")],
    seed: Annotated[list[int], typer.Option(help="Repeat the option for several seeds.")],
    scale: Annotated[str, typer.Option(help="laptop, or workstation where it exists.")] = "laptop",
    data: Annotated[
        str | None, typer.Option(help="As in `ncourse run`; the experiment's own if not given.")
    ] = None,
) -> None:
    """Run a paper's experiment once per seed and keep what notebooks have no time for."""
    from ncourse import papers
    from ncourse.claims import repeat
    from ncourse.runs import dataset

    options = [f"--seed {number}" for number in seed]
    if scale != "laptop":
        options.append(f"--scale {scale}")
    if data is not None:
        options.append(f"--data {shlex.quote(data)}")
    command = f"ncourse record {paper} {out.as_posix()} {' '.join(options)}"
    try:
        chosen: dict[str, Any] = {} if data is None else {"data": dataset(data)}
        recording = repeat(papers.find(paper), seed, command=command, scale=scale, **chosen)
    except (ValueError, FileNotFoundError) as error:
        raise _fail(str(error)) from None
    recording.save(out)
    for outcome in recording.outcomes:
        console.print(str(outcome), highlight=False)


@app.command()
def run(
    paper: Annotated[str, typer.Argument(help="A module of ncourse.papers, e.g. papyan2020.")],
    scale: Annotated[str, typer.Option(help="laptop, workstation or paper.")] = "laptop",
    data: Annotated[
        str | None,
        typer.Option(help="digits, fashion-mnist, mnist, cifar10, cifar100, or a folder."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the experiment.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; runs/PAPER-SCALE-DATA-seedN if not given.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that is there.")
    ] = False,
    accelerator: Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")] = "cpu",
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed, 16-mixed.")] = "32-true",
    devices: Annotated[int, typer.Option(help="As many processes, each with a device.")] = 1,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Training steps through torch.compile.")
    ] = False,
) -> None:
    """Run a paper's experiment in a folder of its own: tables, figures, claims, checkpoints."""
    from ncourse import runs, training

    if devices > 1 and training.place().processes == 1:
        launch = ["torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
        again = [sys.executable, "-m", *launch, "-m", "ncourse.course.cli", *sys.argv[1:]]
        raise typer.Exit(subprocess.run(again).returncode)
    try:
        outcome = runs.run(
            paper,
            scale=scale,
            data=data,
            seed=seed,
            out=out,
            resume=resume,
            console=console,
            on=training.Hardware(accelerator, precision, compiled),
        )
    except (ValueError, FileNotFoundError) as error:
        raise _fail(str(error)) from None
    if training.place().rank == 0:
        for made in outcome.claims:
            console.print(f"{made.verdict}: {made.text}", highlight=False, soft_wrap=True)
        console.print(str(outcome), highlight=False, soft_wrap=True)


@app.command("measure")
def measure_file(
    file: Annotated[
        Path,
        typer.Argument(
            help="An .npz, .npy, .csv, .pt or .safetensors file: features, labels, perhaps weight, "
            "bias, logits."
        ),
    ],
    labels: Annotated[Path | None, typer.Option(help="An .npy file, for features in one.")] = None,
    weight: Annotated[Path | None, typer.Option(help="An .npy file.")] = None,
    bias: Annotated[Path | None, typer.Option(help="An .npy file.")] = None,
    classes: Annotated[str, typer.Option(help='Those to measure, e.g. "0,3,4".')] = "",
    min_samples: Annotated[
        int | None, typer.Option(help="Leave out classes with fewer samples.")
    ] = None,
    ignore_index: Annotated[int | None, typer.Option(help="Leave out samples so labelled.")] = None,
    convention: Annotated[str, typer.Option(help="papyan, zhu, jacot or wu.")] = "papyan",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure collapse of features that you have saved."""
    import json
    import math

    from ncourse import features

    try:
        chosen = [int(name) for name in _names(classes)] or None
    except ValueError:
        raise _fail(f"--classes takes numbers, such as 0,3,4; got {classes}") from None
    try:
        saved = features.load(file, labels=labels, weight=weight, bias=bias)
        report = saved.measure(
            convention=convention,
            classes=chosen,
            min_samples=min_samples,
            ignore_index=ignore_index,
        )
    except (FileNotFoundError, TypeError, ValueError) as error:
        raise _fail(str(error)) from None
    if as_json:  # JSON has neither nan nor infinity
        values = {
            name: value if math.isfinite(value) else None
            for name, value in report.as_dict().items()
        }
        print(json.dumps(values, indent=2))
    else:
        console.print(str(report), highlight=False, markup=False, soft_wrap=True)


@app.command()
def assign(
    chapter: Annotated[int, typer.Argument(metavar="NN", help="The chapter.")],
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
    exercises: Annotated[str, typer.Option(help='Only these, e.g. "5.1,5.3".')] = "",
    due: Annotated[str, typer.Option(help="The date to print.")] = "",
    no_solutions: Annotated[
        bool, typer.Option("--no-solutions", help="Turn `hint` and `solution` off, for marks.")
    ] = False,
    seed: Annotated[
        str, typer.Option(help="A secret word: exercises for marks, in the variants it draws.")
    ] = "",
    site: Annotated[str, typer.Option(help="The address of your course's site, to link to.")] = "",
    system: Annotated[
        str, typer.Option("--for", help="nbgrader: a source notebook for its commands.")
    ] = "",
    questions: Annotated[
        str, typer.Option(help="For nbgrader: written questions of the teaching page, e.g. 1,3.")
    ] = "",
) -> None:
    """Make an assignment from a chapter: a notebook with some of its exercises."""
    import secrets

    from ncourse.course import assignments, nbgrader, notebooks

    book = _book(to_read=True)
    (chosen,) = _chapters(book, [chapter])
    if system not in ("", "nbgrader") or (questions and not system):
        raise _fail("--for takes nbgrader; --questions needs it, because they are marked by hand")
    try:
        names = _names(exercises) + (assignments.variants(chosen, seed) if seed else [])
        if system:
            notebook = nbgrader.source(
                book,
                chosen,
                names,
                due=due,
                site=site,
                asked=[int(number) for number in _names(questions)],
                seeds=[secrets.randbelow(2**31) for _ in range(2)],
            )
        else:
            notebook = assignments.assignment(
                book, chosen, names, due=due, solutions=not (no_solutions or seed), site=site
            )
    except ValueError as error:
        raise _fail(str(error)) from None
    path = out / f"assignment-{chosen.number:02d}.ipynb"
    if path.exists():
        raise _fail(f"{path} is there already; move it, or name another folder with --out")
    notebooks.write(notebook, path)
    console.print(f"wrote {path}", highlight=False, soft_wrap=True)


@app.command()
def seminar(
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
    seed: Annotated[str, typer.Option(help="A secret word, which draws variants and numbers.")],
    due: Annotated[str, typer.Option(help="The date to print on the problem sets.")] = "",
) -> None:
    """Make two problem sets and an exam of 60 minutes, each with its solutions in another file."""
    from ncourse.course import notebooks
    from ncourse.course import seminar as made

    book = _book(to_read=True)
    if out.exists() and any(out.iterdir()):
        raise _fail(f"{out} has files in it; move them, or name another folder with --out")
    try:
        sets = [made.problem_set(book, k, seed, due=due) for k in range(1, len(made.SETS) + 1)]
        asked, solved = made.exam(book, seed)
    except ValueError as error:
        raise _fail(str(error)) from None
    out.mkdir(parents=True, exist_ok=True)
    texts = {"exam.md": asked, "exam-solutions.md": solved}
    for number, one in enumerate(sets, start=1):
        notebooks.write(one.notebook, out / f"problem-set-{number}.ipynb")
        texts[f"problem-set-{number}-solutions.md"] = one.solutions
    for name, text in texts.items():
        write_whole(out / name, text)
    for path in sorted(out.iterdir()):
        console.print(f"wrote {path}", highlight=False, soft_wrap=True, markup=False)
    console.print("Students get the files without -solutions in their names.")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@app.command()
def grade(
    submissions: Annotated[list[Path], typer.Argument(help="Notebooks, or folders of them.")],
    out: Annotated[Path, typer.Option(help="The CSV file to write.")],
    assignment: Annotated[
        Path | None, typer.Option(help="The notebook that you handed out: it says what counts.")
    ] = None,
    exercises: Annotated[str, typer.Option(help='Or what counts, e.g. "5.1,5.3".')] = "",
    feedback: Annotated[
        Path | None, typer.Option(help="A folder for one HTML file a submission.")
    ] = None,
    roster: Annotated[
        Path | None, typer.Option(help="The class list, a CSV file; absentees get a row.")
    ] = None,
    lms: Annotated[
        str, typer.Option("--for", help="canvas or moodle: also a file that it imports.")
    ] = "",
    column: Annotated[str, typer.Option(help="What the marks are called there.")] = "",
    partial: Annotated[
        bool, typer.Option("--partial", help="Points for the cases of a check that are passed.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Change the rows of these students in OUT only.")
    ] = False,
    seconds: Annotated[float, typer.Option(help="For one exercise of one student.")] = 20.0,
    megabytes: Annotated[int, typer.Option(help="Of memory for one exercise.")] = 2000,
    seed: Annotated[
        int | None, typer.Option(help="Of the hidden data; drawn and printed if not given.")
    ] = None,
) -> None:
    """Check the answers in students' notebooks, each student's in a process with limits.

    Only functions that answer an exercise are run. This limits accidents and is no sandbox: grade
    what you do not trust inside a container.
    """
    import contextlib
    import secrets

    from ncourse.course import feedback as pages
    from ncourse.course import gradebook, grading

    course = _book(to_read=True)
    if (assignment is None) == (not _names(exercises)):
        raise _fail(
            "say what counts, in one way: --assignment with the notebook that you handed out, or "
            "--exercises 5.1,5.3. It is not taken from the files of the students"
        )
    if lms and (lms not in gradebook.LMS or roster is None):
        raise _fail("--for takes canvas or moodle, and needs --roster with the list from there")
    if out.exists() and not update:
        raise _fail(f"{out} is there already; --update changes rows in it, or name another file")
    try:
        tasks = _tasks(course, grading.asked_for(assignment) if assignment else _names(exercises))
        book = gradebook.Gradebook(out, tasks, partial=partial)
        if out.exists():
            book.read()
        students = gradebook.Roster(roster) if roster else None
        handed = grading.collect(submissions)
    except (FileNotFoundError, ValueError) as error:
        raise _fail(str(error)) from None
    if not handed:
        raise _fail(f"there is no notebook in {', '.join(map(str, submissions))}")
    if students and lms:
        column = column or f"Assignment {', '.join(task.exercise for task in tasks)}"
        try:
            gradebook.lms_text(lms, students, book, column)  # before an hour of grading, not after
        except gradebook.GradebookError as error:
            raise _fail(str(error)) from None
    seed = secrets.randbelow(2**31) if seed is None else seed
    console.print(f"hidden data of seed {seed}: --seed {seed} repeats them", highlight=False)
    rows = gradebook.hand_ins(handed, students)
    owners = {one.path: person for one, person in rows}
    count = 0

    def done(one: grading.Submission) -> None:
        nonlocal count
        count += 1
        name = ""
        if feedback is not None:
            name = book.feedback_name(one, owners[one.path])
            try:
                pages.write(feedback / name, one, tasks, partial=partial)
            except OSError as error:
                one.remarks.append(f"Its feedback could not be written: {error.strerror}.")
                name = ""
        book.add(one, owners[one.path], name)
        with contextlib.suppress(OSError):  # the last one, below, does not pass over it
            book.write()

    with console.status(f"checking {len(rows)} notebooks"):
        limits = grading.Limits(seconds=seconds, megabytes=megabytes)
        try:
            grading.grade([one for one, _ in rows], tasks, limits=limits, seed=seed, done=done)
        except KeyboardInterrupt:
            message = f"stopped; {out} has {count} of {len(rows)}. Go on with --update"
            raise _fail(f"{message} --seed {seed}") from None
    for person in students.people if students else []:
        book.add_absent(person)
    book.write()
    written = [out]
    if students and lms:
        written.append(out.with_name(f"{out.stem}-{lms}.csv"))
        write_whole(written[-1], gradebook.lms_text(lms, students, book, column))
    made = gradebook.mistakes(one for one, _ in rows)
    if made:
        written.append(out.with_name(f"{out.stem}-mistakes.csv"))
        write_whole(written[-1], gradebook.mistakes_text(made))
    table = Table("Exercise", "Points", "Solved by")
    for task in tasks:
        results = [one.results.get(task.exercise) for one, _ in rows]
        solved = sum(result is not None and result.state == "solved" for result in results)
        table.add_row(task.exercise, str(task.points), f"{solved} of {len(rows)}")
    console.print(table)
    if made:
        table = Table("Exercise", "Known mistake", "Students")
        for name, mistake, number in made:
            table.add_row(name, Text(mistake), str(number))
        console.print(table)
    for path in written:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True, markup=False)


def _tasks(book: Book, names: list[str]) -> "list[Task]":
    """The exercises with these names, by chapter."""
    from ncourse.course import assignments

    try:
        numbers = sorted({int(name.partition(".")[0]) for name in names})
    except ValueError:
        raise _fail(f"{', '.join(names)}: exercises are named like 5.1") from None
    found: list[assignments.Task] = []
    for chapter in _chapters(book, numbers) if numbers else []:
        here = [name for name in names if name.startswith(f"{chapter.number}.")]
        try:
            found += assignments.tasks(book, chapter, here)
        except assignments.AssignmentError as error:
            raise _fail(str(error)) from None
    return found


@app.command()
def progress(
    folder: Annotated[
        Path | None, typer.Argument(help="Of your notebooks; my-course if not given.")
    ] = None,
) -> None:
    """Show which exercises of your notebooks are solved; nothing leaves this machine."""
    from ncourse.course import assignments, grading

    book = _book(to_read=True)
    folder = folder or _own(book)
    if not folder.is_dir():
        raise _fail(f"{folder} is no folder; `ncourse lab` makes my-course")
    rows = []
    for chapter in book.chapters:
        path = folder / chapter.file
        if path.is_file():
            tasks = assignments.tasks(book, chapter)
            one = grading.read(path)
            grading.find_answers(one, tasks)
            grading.grade([one], tasks, hidden_seeds=0)
            rows.append((chapter, tasks, one))
    if not rows:
        raise _fail(f"there is no notebook of the course in {folder}")
    table = Table("", "Chapter", "Exercises", "Solved")
    signs = {"solved": "✓", "not yet": "✗", "fault": "✗"}
    for chapter, tasks, one in rows:
        states = {name: result.state for name, result in one.results.items()}
        marks = " ".join(
            f"{t.exercise} {signs.get(states.get(t.exercise, ''), '○')}" for t in tasks
        )
        solved = sum(state == "solved" for state in states.values())
        table.add_row(
            str(chapter.number), chapter.title, one.problem or marks, f"{solved} of {len(tasks)}"
        )
    console.print(table)
    console.print("✓ solved   ✗ not yet   ○ not attempted")


@app.command()
def new(
    number: Annotated[int, typer.Argument(metavar="NN", help="The chapter's number.")],
    slug: Annotated[str, typer.Argument(help="Of its file, e.g. watching-collapse.")],
    paper: Annotated[str, typer.Argument(help="First author and year, e.g. papyan2020.")],
) -> None:
    """Lay the stubs of a whole chapter, a draft that no reader sees (for those who write one)."""
    from ncourse.course.new import NewChapterError, lay, next_steps

    book = _book()
    try:
        written = lay(book, number, slug, paper)
    except (NewChapterError, ManifestError) as error:
        raise _fail(str(error)) from None
    for path in written:
        console.print(f"wrote {path.relative_to(book.root)}", highlight=False, soft_wrap=True)
    console.print("\nNext, in this order:")
    for index, step in enumerate(next_steps(_book().chapter(number)), start=1):
        console.print(f"{index}. {step}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def sync(
    repository: Annotated[
        str | None,
        typer.Option(
            help="Publish it from here: owner/name on GitHub, an address that git clones, or "
            "nothing in quotes. Each notebook then installs the course where it is not."
        ),
    ] = None,
) -> None:
    """Bring headers, references, tables and the map in line with `book.toml` and the `.bib`."""
    from ncourse.course.manifest import name_repository
    from ncourse.course.pages import ClaimsError
    from ncourse.course.sync import sync as bring_in_line

    book = _book()
    changed = []
    try:
        if repository is not None and name_repository(book.root / "book.toml", repository):
            changed.append(book.root / "book.toml")
        changed += bring_in_line(_book())
    except (ManifestError, CitationError, ClaimsError) as error:
        raise _fail(str(error)) from None
    for path in changed:
        console.print(f"wrote {path.relative_to(book.root)}", highlight=False)
    # Like a formatter's hook: a change fails the commit, so that it can be looked at.
    raise typer.Exit(1 if changed and repository is None else 0)


@app.command("test")
def run_tests(
    slow: Annotated[
        bool, typer.Option("--slow", help="Also those that kill commands or try many inputs.")
    ] = False,
) -> None:
    """Test the style, the package, the notebooks, and the built site in a browser.

    Notebooks run once, in the third stage; the site is built from the outputs stored in them.
    """
    book = _book()
    python = [sys.executable, "-m"]
    two = ["-n", "2"]
    notebooks = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600"]
    # One worker a notebook: a notebook's cells share a kernel.
    one_worker_each = [*two, "--dist", "loadfile"]
    quick = "" if slow else " and not slow"
    package = "not browser and not bench" + quick
    stages = {
        "style": [
            [*python, "ruff", "check", "--quiet"],
            [*python, "ruff", "format", "--check", "--quiet"],
            [*python, "mypy"],
        ],
        "package": [[*python, "pytest", *two, "-rs", "-m", package]],
        "notebooks": [[*python, "pytest", *notebooks, *one_worker_each, book.src]],
        "site": [[*python, "ncourse.course.cli", "build", "--stored"]],
        "browser": [[*python, "pytest", *two, "-m", "browser" + quick, "-rs", "tests/site"]],
    }
    examples = {"HYPOTHESIS_PROFILE": "whole"} if slow else {}
    environment = {**examples, **os.environ, "OMP_NUM_THREADS": "1"}
    table = Table("Stage", "Result", "Time")
    failed = False
    for stage, commands in stages.items():
        console.rule(stage)
        start = time.perf_counter()
        codes = [
            subprocess.run(command, cwd=book.root, env=environment).returncode
            for command in commands
        ]
        code = max(codes, key=abs)
        failed |= code != 0
        result = "[green]passed[/]" if code == 0 else f"[red]failed[/] (exit code {code})"
        table.add_row(stage, result, f"{time.perf_counter() - start:.0f} s")
    console.print(table)
    raise typer.Exit(1 if failed else 0)


@app.command()
def doctor() -> None:
    """Print versions, threads and data sets, to paste into a bug report."""
    for name, value in _report():
        print(f"{name + ':':<18}{value}")


def _report() -> list[tuple[str, str]]:
    """What a bug report should say about this machine."""
    import torch

    packages = [
        *("ncourse", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "torchmetrics"),
        *("lightning-fabric", "matplotlib", "ipykernel", "ipywidgets", "jupyterlab"),
        *("jupyter-book", "nbclient"),
    ]
    rows = [("python", platform.python_version()), ("platform", platform.platform())]
    for package in packages:
        try:
            rows.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            rows.append((package, "not installed"))
    fashion = [folder for folder in _fashion_mnist_folders() if any(folder.glob("*ubyte.gz"))]
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    rows += [
        ("cores", str(os.cpu_count())),
        ("torch threads", str(torch.get_num_threads())),
        ("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "not set")),
        ("CUDA device", accelerator),
        ("digits", "comes with scikit-learn"),
        ("Fashion-MNIST", str(fashion[0]) if fashion else "not found (no chapter needs it)"),
        ("Chromium", shutil.which("chromium") or "not found (browser tests are skipped)"),
    ]
    return rows


def _fashion_mnist_folders() -> list[Path]:
    """Where `ncourse.data.fashion_mnist` finds its files, in its order."""
    from ncourse.data import DEBIAN_FASHION_MNIST

    return [DEBIAN_FASHION_MNIST, Path.home() / ".cache" / "ncourse" / "FashionMNIST" / "raw"]


def main() -> None:
    """Run the command; what the system refuses (a full disk, no permission) is one line.

    So is a notebook that cannot be read, whichever command meets it.
    """
    try:
        app()
    except UnreadableNotebook as error:
        _fail(str(error))
        raise SystemExit(1) from None
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "ncourse"):
            raise
        extra = "vision" if package == "torchvision" else "course"
        _fail(f'{package} is not installed; this needs: pip install "ncourse[{extra}]"')
        raise SystemExit(1) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        several = isinstance(error, shutil.Error)  # from copying a folder; the first will do
        reason = (error.args[0][0][2] if several else error.strerror or str(error)).lower()
        _fail(f"{where}{reason}; nothing was left half-written, so mend that and run it again")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
