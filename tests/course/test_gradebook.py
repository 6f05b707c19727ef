"""The table of a class: marks by hand, the class list, what Canvas and Moodle take."""

import codecs
import csv
import os
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

from ncourse.course import assignments, feedback, gradebook
from ncourse.course.cli import app
from ncourse.course.gradebook import Gradebook, GradebookError, Roster
from ncourse.course.grading import Handed, Result, Submission
from ncourse.course.manifest import load

BOOK = load(Path(__file__).parents[2] / "book.toml")
TASKS = [t for t in assignments.tasks(BOOK, BOOK.chapter(3)) if t.exercise in ("3.1", "3.2")]
SOLVED = Result("solved", "why", passed=4, steps=4)
HALF = Result("not yet", "no", "`n` for `n - 1`", passed=2, steps=4)
RIGHT = """
def terminal_epoch(train_error):
    for epoch, error in enumerate(train_error, start=1):
        if error == 0:
            return epoch
    return None
"""


def one(student: str, first: Result, second: Result) -> Submission:
    return Submission(student, Path("x.ipynb"), results={"3.1": first, "3.2": second})


def written(path: Path) -> list[dict[str, str]]:
    assert path.read_bytes().startswith(codecs.BOM_UTF8)
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def save(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# --- points -------------------------------------------------------------------------------------


def test_partial_credit_is_the_share_of_steps_rounded_down(tmp_path: Path) -> None:
    task = TASKS[0]
    assert task.points == 10
    for partial, said, worth in ((False, "not yet", 0), (True, "not yet, 2 of 4 cases", 5)):
        assert gradebook.state(HALF, partial=partial) == said
        assert gradebook.points(task, said) == worth
    third = Result("not yet", "", passed=1, steps=3)
    assert gradebook.points(task, gradebook.state(third, partial=True)) == 3
    for result in (Result("fault", "", passed=2, steps=4), Result("not attempted", ""), None):
        assert gradebook.points(task, gradebook.state(result, partial=True)) == 0
    book = Gradebook(tmp_path / "g.csv", TASKS, partial=True)
    book.add(one("ada", HALF, SOLVED))
    book.write()
    (row,) = written(book.path)
    assert (row["points"], row["of"], row["3.1"], row["3.2"]) == ("10", "15", "5", "5")


def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path) -> None:
    submission = Submission('=HYPERLINK("x")', Path("@a.ipynb"), problem="-1\nline")
    book = Gradebook(tmp_path / "g.csv", TASKS)
    book.add(submission)
    book.write()
    (row,) = written(book.path)
    assert row["student"].startswith("'=")
    assert row["remark"] == "'-1 line"


# --- marks by hand ------------------------------------------------------------------------------


def test_marks_that_were_corrected_by_hand_stay(tmp_path: Path) -> None:
    book = Gradebook(tmp_path / "g.csv", TASKS)
    for student in ("ada", "bob", "cyd"):
        book.add(one(student, HALF, SOLVED))
    book.write()
    header, rows = gradebook.table(book.path)
    ada, bob, cyd = rows
    ada["3.1"], ada["note"] = "7,5", "explained it well"  # and a column of the teacher's
    bob["points"] = "15"
    # As a spreadsheet of some countries saves it.
    with book.path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, [*header, "note"], delimiter=";")
        writer.writeheader()
        writer.writerows([ada, bob, cyd])
    for _ in range(2):  # and they stay again
        again = Gradebook(book.path, TASKS)
        again.read()
        for student in ("ada", "bob"):
            again.add(one(student, SOLVED, SOLVED))
        again.write()
        ada, bob, cyd = written(book.path)
        assert (ada["3.1"], ada["3.1 state"], ada["3.2"]) == ("7,5", "solved", "5")
        assert ada["points"] == "12.5"
        assert ada["note"] == "explained it well"
        assert "3.1: 7,5 by hand, 10 by the checks." in ada["remark"]
        assert (bob["points"], bob["3.1"]) == ("15", "10")
        assert (cyd["points"], cyd["3.1"], cyd["3.1 state"]) == ("5", "0", "not yet")


def test_a_table_of_other_exercises_is_not_updated(tmp_path: Path) -> None:
    book = Gradebook(tmp_path / "g.csv", TASKS[:1])
    book.add(one("ada", SOLVED, SOLVED))
    book.write()
    with pytest.raises(GradebookError, match=r"has the exercises 3\.1; asked for are 3\.1, 3\.2"):
        Gradebook(book.path, TASKS).read()
    for content, says in ((b"student,\xe9\n", "not UTF-8"), (b"one\n", "header")):
        book.path.write_bytes(content)
        with pytest.raises(GradebookError, match=says):
            Gradebook(book.path, TASKS).read()


# --- the class list -----------------------------------------------------------------------------

CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,Old work (77),Current Score
    Points Possible,,,,,10,(read only)
"Müller, José",9912,s1001,jmuller,A,3,
"Byron, Ada",9913,s1002,abyron,A,,
"Student, Test",1,,x,A,,
"""
WORKSHEET = """\
Identifier,Full name,Email address,Status,Grade,Maximum Grade,Grade can be changed,\
Last modified (grade),Feedback comments
Participant 123456,José Müller,jm@uni.example,Submitted,,15.00,Yes,-,
Participant 778812,Ada Byron,ada@uni.example,No submission,,15.00,Yes,-,
"""


def who(roster: Roster, place: str) -> str | None:
    person = roster.who(Handed(Path(place), place))
    return person and person.name


def test_files_find_their_students(tmp_path: Path) -> None:
    canvas = Roster(save(tmp_path / "canvas.csv", CANVAS))
    assert [person.identity for person in canvas.people] == ["9912", "9913"]
    for place in (
        "mullerjose_LATE_9912_778812_assignment-03-1.ipynb",
        "mullerjose_9912_9913_assignment-03.ipynb",
        "s1001.ipynb",
        "JMULLER/hw.ipynb",
        "José Müller.ipynb",
    ):
        assert who(canvas, place) == "Müller, José", place
    # What a student calls the file, or a number of two meanings, is nobody.
    for place in ("hw.ipynb", "x_1_2_s1001.ipynb", "9912_x/9913_y.ipynb"):
        assert who(canvas, place) is None, place
    moodle = Roster(save(tmp_path / "moodle.csv", WORKSHEET))
    for place in (
        "José Müller_123456_assignsubmission_file_/hw.ipynb",
        "Jose Muller_1_assignsubmission_file_/Ada Byron.ipynb",
        "jm@uni.example.ipynb",
    ):
        assert who(moodle, place) == "José Müller", place
    plain = Roster(save(tmp_path / "plain.csv", "First name;Last name\nAda;Byron\n"))
    assert who(plain, "byron-ada.ipynb") == "Ada Byron"


def test_a_list_that_tells_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GradebookError, match="has the columns a, b; a class list needs one of id"):
        Roster(save(tmp_path / "a.csv", "a,b\n1,2\n"))
    with pytest.raises(GradebookError, match="has 7 more than once"):
        Roster(save(tmp_path / "b.csv", "id,name\n7,Ada\n7,Bob\n"))


def test_of_two_attempts_the_last_counts(tmp_path: Path) -> None:
    roster = Roster(save(tmp_path / "list.csv", "id,name\n1,Ada\n2,Bob\n3,Cyd\n"))
    places = {"a/1.ipynb": 200, "b/1.ipynb": 100, "Bob/hw-2.ipynb": 5, "Bob/hw-10.ipynb": 5}
    handed = []
    for place, changed in {**places, "hw.ipynb": 1}.items():
        path = save(tmp_path / place, nbformat.writes(new_notebook()))
        os.utime(path, (changed, changed))
        handed.append(Handed(path, place))
    rows = gradebook.hand_ins(handed, roster)
    found = {one.student: (person and person.name) for one, person in rows}
    assert found == {"a/1": "Ada", "hw-10": "Bob", "hw (not in the list)": None}
    remarks = {one.student: one.remarks for one, _ in rows}
    assert remarks["a/1"] == ["Counts as the last; not b/1."]
    assert remarks["hw-10"] == ["Counts as the last; not hw-2."]


# --- Canvas and Moodle --------------------------------------------------------------------------


def graded(tmp_path: Path, roster: Roster) -> Gradebook:
    """The first of the list has points, the second has handed in nothing."""
    book = Gradebook(tmp_path / "g.csv", TASKS)
    book.add(one("x", HALF, SOLVED), roster.people[0])
    for person in roster.people:
        book.add_absent(person)
    return book


def test_canvas_takes_its_own_columns_and_one_of_marks(tmp_path: Path) -> None:
    """Student, ID, SIS User ID, SIS Login ID, Section, then marks; the row of points second."""
    roster = Roster(save(tmp_path / "canvas.csv", CANVAS))
    text = gradebook.lms_text("canvas", roster, graded(tmp_path, roster), "Homework 3 (501)")
    assert text == (
        "\ufeffStudent,ID,SIS User ID,SIS Login ID,Section,Homework 3 (501)\n"
        "    Points Possible,,,,,15\n"
        '"Müller, José",9912,s1001,jmuller,A,5\n'
        '"Byron, Ada",9913,s1002,abyron,A,0\n'
    )
    user = Roster(save(tmp_path / "u.csv", "Section,SIS User ID,Student,ID\nA,s1,Ada,1\n"))
    text = gradebook.lms_text("canvas", user, graded(tmp_path, user), "x")
    assert text.startswith("\ufeffStudent,ID,Section,x\n")
    other = Roster(save(tmp_path / "plain.csv", "id,name\n1,Ada\n"))
    with pytest.raises(GradebookError, match="Student, ID and Section"):
        gradebook.lms_text("canvas", other, graded(tmp_path, other), "x")


def test_moodle_takes_its_worksheet_or_a_column_that_identifies(tmp_path: Path) -> None:
    """The worksheet keeps its columns: Moodle refuses new ones."""
    roster = Roster(save(tmp_path / "moodle.csv", WORKSHEET))
    text = gradebook.lms_text("moodle", roster, graded(tmp_path, roster), "x")
    header, first, second = text.removeprefix("\ufeff").splitlines()
    assert header == WORKSHEET.splitlines()[0]
    assert first == (
        "Participant 123456,José Müller,jm@uni.example,Submitted,5,15.00,Yes,-,"
        "5 of 15 points. 3.1: not yet; 3.2: solved."
    )
    assert second.startswith("Participant 778812,Ada Byron,ada@uni.example,No submission,0,15.00,")
    assert second.endswith("3.1: absent; 3.2: absent.")
    plain = Roster(save(tmp_path / "p.csv", "Email address,First name,Last name\na@b.c,Ada,B\n"))
    text = gradebook.lms_text("moodle", plain, graded(tmp_path, plain), "Homework 3")
    assert text.startswith("\ufeffEmail address,Homework 3,Homework 3 (feedback)\na@b.c,5,5 of 15 ")
    other = Roster(save(tmp_path / "plain.csv", "name,age\nAda,20\n"))
    with pytest.raises(GradebookError, match="for Moodle it needs Identifier"):
        gradebook.lms_text("moodle", other, graded(tmp_path, other), "x")


# --- mistakes and feedback ----------------------------------------------------------------------


def test_which_mistake_was_how_frequent() -> None:
    other = Result("not yet", "no", "not centred", 1, 4)
    rows = [one("a", HALF, other), one("b", HALF, SOLVED), one("c", other, SOLVED)]
    assert gradebook.mistakes(rows) == [
        ("3.1", "`n` for `n - 1`", 2),
        ("3.1", "not centred", 1),
        ("3.2", "not centred", 1),
    ]


def test_feedback_is_one_page_that_shows_the_code_and_runs_nothing() -> None:
    submission = one("<script>alert(1)</script>", Result("fault", "<b>x</b> `a<b`"), SOLVED)
    submission.answers = {"3.1": "def f():\n    return '<script>'", "3.2": RIGHT}
    page = feedback.page(submission, TASKS)
    assert page.count("<script") == 0
    assert "&lt;b&gt;x&lt;/b&gt; <code>a&lt;b</code>" in page
    assert "return &#x27;&lt;script&gt;&#x27;" in page
    assert "<b>5 of 15 points.</b>" in page
    assert "http" not in page
    submission.answers["3.1"] = "# \udce9" + "x" * 1_000_000
    page = feedback.page(submission, TASKS)
    assert "# ?xxx" in page
    assert len(page.encode()) < 30_000


@pytest.mark.parametrize("student", ["a/b", "..", "", "con", "x" * 300, "🎓" * 300, "\udce9:*?"])
def test_a_file_of_feedback_has_a_name_that_every_system_takes(
    student: str, tmp_path: Path
) -> None:
    name = gradebook.file_name(student, ())
    again = gradebook.file_name(student, {name.casefold()})
    assert again != name
    for file in (name, again):
        assert not set(file) & set('/\\:*?"<>|')
        feedback.write(tmp_path / file, one("x", SOLVED, SOLVED), TASKS)
    assert len(list(tmp_path.iterdir())) == 2


# --- the command --------------------------------------------------------------------------------


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BOOK.root)

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        text = " ".join((result.output + getattr(result, "stderr", "")).split())
        return f"{result.exit_code} {text}"

    said = run("assign", 3, "--out", tmp_path, "--exercises", "3.1, 3.2")
    assert said.startswith("0 wrote")
    assert "sync --repository" in said  # no repository: on Colab it could not install the course
    assert "there already" in run("assign", 3, "--out", tmp_path)
    assert "no exercise 3.9" in run("assign", 3, "--out", tmp_path / "x", "--exercises", "3.9")
    handout = tmp_path / "assignment-03.ipynb"
    notebook = nbformat.read(handout, as_version=4)
    for cell in notebook.cells:
        if '"3.2"' in cell.source and "def " in cell.source:
            cell.source = '@exercise("3.2")' + RIGHT
    save(tmp_path / "in" / "ada.ipynb", nbformat.writes(notebook))
    stray = new_notebook(cells=[new_code_cell("x")], metadata={"ncourse_assignment": {}})
    stray.metadata["ncourse_assignment"]["exercises"] = ["5.1"]
    save(tmp_path / "in" / "odd.ipynb", nbformat.writes(stray))
    table, said = tmp_path / "grades.csv", tmp_path / "said"
    roster = save(tmp_path / "list.csv", "Student,ID,Section\nAda,ada,1\nBob,bob,1\n")
    grade = ("grade", tmp_path / "in", "--out", table)
    assert "say what counts" in run(*grade)
    plain = save(tmp_path / "plain.ipynb", nbformat.writes(new_notebook()))
    assert "is no assignment" in run(*grade, "--assignment", plain)
    assert "needs --roster" in run(*grade, "--exercises", "3.2", "--for", "canvas")
    known = ("--assignment", handout, "--roster", roster, "--feedback", said, "--for", "canvas")
    made = run(*grade, *known, "--column", "Homework")
    assert made.startswith("0 hidden data of seed ")
    assert "1 of 2" in made
    rows = {row["student"]: row for row in written(table)}
    assert set(rows) == {"Ada", "Bob", "odd (not in the list)"}
    assert (rows["Ada"]["points"], rows["Ada"]["of"]) == ("5", "15")
    assert rows["Bob"]["remark"] == "nothing handed in"
    assert "It says that it sets 5.1" in rows["odd (not in the list)"]["remark"]
    assert "not attempted" in (said / rows["Ada"]["feedback"]).read_text(encoding="utf-8")
    canvas = written(tmp_path / "grades-canvas.csv")
    assert [row["Homework"] for row in canvas] == ["15", "5", "0"]
    assert "--update changes rows" in run(*grade, "--assignment", handout)
    again = ("grade", tmp_path / "in" / "ada.ipynb", "--out", table, "--update")
    assert run(*again, "--assignment", handout, "--roster", roster, "--seed", "1").startswith("0 ")
    assert {row["student"] for row in written(table)} == set(rows)
    nowhere = ("grade", tmp_path / "none", "--out", tmp_path / "n.csv", "--exercises", "3.1")
    assert "does not exist" in run(*nowhere)
