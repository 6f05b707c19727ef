"""The table of a class: one row a student, the class list, and files for Canvas and Moodle.

Marks that a teacher has corrected by hand stay. A mark counts as corrected if it is not what its
state says: *solved* is all of the points, *not yet, 2 of 5 cases* that share, anything else none.
A total counts as corrected if it is neither the sum of the marks nor that of the states.
"""

import contextlib
import csv
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ncourse.course.assignments import Task
from ncourse.course.grading import Handed, Result, Submission, names
from ncourse.files import write_whole

__all__ = [
    "LMS",
    "Gradebook",
    "GradebookError",
    "Person",
    "Roster",
    "file_name",
    "hand_ins",
    "lms_text",
    "mistakes",
    "mistakes_text",
    "points",
]

LMS = ("canvas", "moodle")
Row = dict[str, str]


class GradebookError(ValueError):
    """A table that cannot be used: the message names the file, and what it should have."""


# --- points -------------------------------------------------------------------------------------


def state(result: Result | None, *, partial: bool) -> str:
    """What stands in the table for a result: its state, and with `partial` the cases passed."""
    if result is None:
        return "unreadable"
    if partial and result.state == "not yet" and result.steps:
        return f"not yet, {result.passed} of {result.steps} cases"
    return result.state


def points(task: Task, said: str) -> int:
    """The points for a state as it stands in the table; a share is rounded down."""
    if said == "solved":
        return task.points
    share = re.fullmatch(r"not yet, (\d+) of (\d+) cases", said)
    return task.points * int(share[1]) // int(share[2]) if share and int(share[2]) else 0


def _number(text: str) -> float:
    """A mark as a number; a word such as "excused" counts nothing."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return 0.0


# --- the table ----------------------------------------------------------------------------------


class Gradebook:
    """The rows of a class, written as a whole file after each of them.

    Args:
        path: of the CSV file.
        tasks: the exercises that count.
        partial: whether an answer that is not right yet gets the share of the steps it passed.
    """

    def __init__(self, path: Path, tasks: Sequence[Task], *, partial: bool = False) -> None:
        self.path = path
        self.tasks = tasks
        self.partial = partial
        self.rows: dict[str, Row] = {}
        self.more: list[str] = []

    @property
    def columns(self) -> list[str]:
        """The names of the columns; those that a teacher has added come last."""
        exercises = [name for t in self.tasks for name in (t.exercise, f"{t.exercise} state")]
        ours = ["id", "student", "points", "of", *exercises, "remark", "file", "feedback"]
        return ours + [name for name in self.more if name not in ours]

    def read(self) -> None:
        """Take over the rows of the file.

        Raises:
            GradebookError: if it is no table of these exercises.
        """
        header, rows = table(self.path)
        self.more = [name for name in header if name]
        exercises = [name.removesuffix(" state") for name in header if name.endswith(" state")]
        if exercises != [task.exercise for task in self.tasks] or "student" not in header:
            there = ", ".join(exercises) or "none"
            raise GradebookError(
                f"{self.path} has the exercises {there}; asked for are "
                f"{', '.join(task.exercise for task in self.tasks)}. Name another file with --out"
            )
        for row in rows:
            self.rows[row.get("id") or row["student"]] = row

    def add(self, one: Submission, person: "Person | None" = None, feedback: str = "") -> None:
        """Write a submission's row, in place of the student's last one."""
        identity, name = self._called(one, person)
        row = {
            "id": identity,
            "student": name,
            "of": str(sum(task.points for task in self.tasks)),
            "file": _cell(os.fsencode(one.path.name).decode("utf-8", "backslashreplace")),
            "feedback": feedback,
        }
        key = identity or name
        before = self.rows.get(key, {})
        row = {**before, **row}
        faults = [f"{name}: {r.message}" for name, r in one.results.items() if r.state == "fault"]
        remarks = [one.problem, *one.remarks, *faults]
        for task in self.tasks:
            said = state(one.results.get(task.exercise), partial=self.partial)
            mark = str(points(task, said))
            if self._by_hand(before, task):
                by_hand = before[task.exercise]
                remarks.append(f"{task.exercise}: {by_hand} by hand, {mark} by the checks.")
                mark = by_hand
            row |= {task.exercise: mark, f"{task.exercise} state": said}
        total = self._totals(row)[0]
        if before and before.get("points", "") not in self._totals(before):
            remarks.append(f"Points: {before.get('points', '')} by hand, {total} by the exercises.")
            total = before.get("points", "")
        row |= {"points": total, "remark": _cell(" ".join(filter(None, remarks)))}
        self.rows[key] = row

    def feedback_name(self, one: Submission, person: "Person | None") -> str:
        """A name for the feedback of a submission: its last one, or one that no other has."""
        identity, name = self._called(one, person)
        before = self.rows.get(identity or name, {}).get("feedback", "")
        if before and before == Path(before).name:
            return before
        taken = {row.get("feedback", "").casefold() for row in self.rows.values()}
        return file_name(one.student, taken)

    @staticmethod
    def _called(one: Submission, person: "Person | None") -> tuple[str, str]:
        if person is None:
            return "", _cell(one.student)
        return _cell(person.identity), _cell(person.name)

    def add_absent(self, person: "Person") -> None:
        """Give a student who has handed in nothing a row without points, unless there is one."""
        key = _cell(person.identity) or _cell(person.name)
        if key in self.rows:
            return
        row = {"id": _cell(person.identity), "student": _cell(person.name), "points": "0"}
        row |= {"of": str(sum(task.points for task in self.tasks)), "remark": "nothing handed in"}
        for task in self.tasks:
            row |= {task.exercise: "0", f"{task.exercise} state": "absent"}
        self.rows[key] = row

    def _by_hand(self, row: Row, task: Task) -> bool:
        if task.exercise not in row:
            return False
        ours = points(task, row.get(f"{task.exercise} state", ""))
        return row[task.exercise].strip() != str(ours)

    def _totals(self, row: Row) -> tuple[str, str]:
        """The sum of a row's marks, and what it was before one of them was changed by hand."""
        marks = [_number(row.get(task.exercise, "")) for task in self.tasks]
        ours = [points(task, row.get(f"{task.exercise} state", "")) for task in self.tasks]
        return f"{sum(marks):g}", f"{sum(ours):g}"

    def write(self) -> None:
        """Write the whole file in one step: UTF-8 with a byte-order mark, which Excel needs.

        Raises:
            OSError: what the system says; the file is then as it was.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = sorted(self.rows.values(), key=lambda row: _sorted(row.get("student", "")))
        write_whole(self.path, "\ufeff" + csv_text(self.columns, rows))


def file_name(student: str, taken: Container[str]) -> str:
    """A name for a student's file that any system can write, and that is not taken.

    Args:
        student: the student's name.
        taken: names that are, in lower case.
    """
    plain = unicodedata.normalize("NFC", student.encode("utf-8", "replace").decode("utf-8"))
    plain = re.sub(r"[^\w .()\-]+", "-", plain).strip(" .-")[:50] or "student"
    if re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", plain):
        plain = f"student-{plain}"  # Windows keeps these for itself
    name, number = f"{plain}.html", 2
    while name.casefold() in taken:
        name = f"{plain}-{number}.html"
        number += 1
    return name


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    """A table as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cell(text: str) -> str:
    """Text for one cell: on one line, and nothing that a spreadsheet takes for a formula."""
    text = " ".join(text.split())
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _sorted(text: str) -> tuple[str, str]:
    return unicodedata.normalize("NFKD", text).casefold(), text


def table(path: Path) -> tuple[list[str], list[Row]]:
    """Header and rows of a CSV file with commas, semicolons or tabs.

    Raises:
        GradebookError: if it is not UTF-8, or has no rows of a header.
        OSError: if it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise GradebookError(f"{path} is not UTF-8; save it as “CSV UTF-8”") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
    try:
        header = [name or "" for name in reader.fieldnames or []]
        rows = [{k: v for k, v in row.items() if k is not None} for row in reader]
    except csv.Error as error:
        raise GradebookError(f"{path} is no CSV file: {error}") from None
    if len(set(header)) < 2:
        raise GradebookError(f"{path} has no header with at least two columns")
    return header, rows


# --- the class list -----------------------------------------------------------------------------

IDS = (
    *("id", "student id", "id number", "sis user id", "sis login id", "username"),
    *("email address", "email", "identifier"),
)
"""Columns of a class list that identify a student, as Canvas, Moodle and people name them."""
NAMES = ("student", "name", "full name")
FIRST, LAST = ("first name", "given name"), ("last name", "surname", "family name")

Key = tuple[str, ...]


@dataclass(frozen=True)
class Person:
    """A student of the class list.

    Attributes:
        name: in the table.
        identity: the first of the columns that identify; empty if there is none.
        keys: column -> by what the student is recognised in names of files.
        row: in the class list.
    """

    name: str
    identity: str
    keys: Mapping[str, Key]
    row: Mapping[str, str]


class Roster:
    """The class list: any CSV file with a column for names or for one of the `IDS`.

    Args:
        path: the file; what Canvas or Moodle export will do.

    Raises:
        GradebookError: if nobody can be told from its columns, or two students are the same.
        OSError: if it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns, rows = table(path)
        by_name = {name.strip().casefold(): name for name in self.columns}
        self.ids = [by_name[name] for name in IDS if name in by_name]
        named = [by_name[name] for name in NAMES if name in by_name]
        parts = [by_name[n] for group in (FIRST, LAST) for n in group if n in by_name]
        if not (self.ids or named or len(parts) == 2):
            raise GradebookError(
                f"{path} has the columns {', '.join(self.columns)}; a class list needs one of "
                f"{', '.join((*IDS, *NAMES))}"
            )
        self.people: list[Person] = []
        for row in rows:
            name = row[named[0]] if named else " ".join(row[part] for part in parts)
            if name.strip().casefold() in ("points possible", "student, test"):
                continue  # Canvas has a row of points, and a student of its own
            keys = {column.casefold(): _key(row[column]) for column in self.ids}
            keys["name"] = _key(name)
            identity = next((row[column].strip() for column in self.ids if row[column].strip()), "")
            if identity or name.strip():
                self.people.append(Person(name.strip() or identity, identity, keys, row))
        twice = [
            who for who, n in Counter(p.identity or p.name for p in self.people).items() if n > 1
        ]
        if twice:
            raise GradebookError(
                f"{path} has {twice[0]} more than once; each student needs one row"
            )

    def who(self, handed: Handed) -> Person | None:
        """Whose file it is, if exactly one student fits.

        Tried in this order: the number in a folder that Moodle makes ("Ada Byron_123_assign…"), the
        one in a name that Canvas makes ("byronada_123_456_…"), then names of the file and its
        folders that are a student's name or one of the `IDS`.
        """
        *folders, file = handed.place.removesuffix(".ipynb").split("/")
        tries: list[tuple[str, Key]] = []
        for folder in folders:
            if made := re.match(r"(.+)_(\d+)_assignsubmission_", folder):
                tries += [("identifier", _key(made[2])), ("name", _key(made[1]))]
        if made := re.match(r"[^\W_]+_(?:LATE_)?(\d+)_\d+_", file):
            tries.append(("id", _key(made[1])))
        tries += [("", _key(part)) for part in (file, *folders)]
        for column, key in tries:
            found = [
                person
                for person in self.people
                if key
                and (key == person.keys.get(column) if column else key in person.keys.values())
            ]
            if len(found) == 1:
                return found[0]
        return None

    def latest(self, handed: Sequence[Handed]) -> dict[Path, Person | None]:
        """Whose each file is, without those that a later one of the same student replaces.

        The last is the one that was changed last, to the second; among equals the one with the
        highest number at the end of its name ("-2", as Canvas counts), then the last by name.
        """
        owners = {one.path: self.who(one) for one in handed}
        last: dict[str, Handed] = {}
        for one in sorted(handed, key=_attempt):
            person = owners[one.path]
            if person is not None:
                last[person.identity or person.name] = one
        kept = {one.path for one in last.values()}
        return {p: person for p, person in owners.items() if person is None or p in kept}


def hand_ins(
    handed: Sequence[Handed], roster: Roster | None
) -> list[tuple[Submission, Person | None]]:
    """Each file that counts, not read yet, with its student if there is a class list.

    A file that belongs to nobody in the list, or to several, keeps a row of its own.
    """
    called = dict(zip(handed, names(handed), strict=True))
    owners = roster.latest(handed) if roster else {one.path: None for one in handed}
    found = []
    for one in handed:
        if one.path not in owners:
            continue
        person = owners[one.path]
        submission = Submission(called[one], one.path)
        if roster and person is None:
            submission.student += " (not in the list)"
        if roster and person is not None:
            earlier = [
                called[other]
                for other in handed
                if other.path not in owners and roster.who(other) == person
            ]
            if earlier:
                submission.remarks.append(f"Counts as the last; not {', '.join(earlier)}.")
        found.append((submission, person))
    return found


def _attempt(one: Handed) -> tuple[int, int, str]:
    number = re.search(r"-(\d{1,6})$", one.place.removesuffix(".ipynb"))
    changed = 0
    with contextlib.suppress(OSError):
        changed = int(one.path.stat().st_mtime)
    return changed, int(number[1]) if number else 0, one.place


def _key(text: str) -> Key:
    """What of a name or number is compared: its words in order, without accents or case."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    plain = "".join(
        c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)
    ).casefold()
    words = re.findall(r"[^\W_]+", plain)
    if len(words) == 2 and words[0] == "participant":  # Moodle's "Participant 123"
        words = words[1:]
    return tuple(sorted(words))


# --- for Canvas and Moodle ----------------------------------------------------------------------


def lms_text(kind: str, roster: Roster, book: Gradebook, column: str) -> str:
    """The grades as a file that Canvas or Moodle imports, with a byte-order mark.

    **Canvas** (Gradebook, Import): the roster is Canvas's own export, with Student, ID and Section;
    these, the SIS columns if there are any, and one column with the points come out. A name that
    Canvas does not know makes a new assignment; "Homework 5 (12345)", as in the export, fills one.

    **Moodle**: if the roster is a grading worksheet (Identifier, Grade and Last modified (grade)),
    the same worksheet with Grade and Feedback comments filled in, for Upload grading worksheet.
    Else one of Email address, ID number and Username, the points, and the feedback, for Grades,
    Import.

    Raises:
        GradebookError: if the roster lacks columns that are needed, naming them.
    """
    by_name = {name.strip().casefold(): name for name in roster.columns}

    def there(*wanted: str) -> list[str]:
        return [by_name[name] for name in wanted if name in by_name]

    whole = str(sum(task.points for task in book.tasks))
    rows: list[Row] = []
    if kind == "canvas":
        if len(there("student", "id", "section")) < 3:
            raise GradebookError(
                f"{roster.path} has the columns {', '.join(roster.columns)}; for Canvas it needs "
                "Student, ID and Section: export the gradebook and give that file to --roster"
            )
        # In this order; Canvas takes a SIS User ID only with a SIS Login ID behind it.
        login = there("sis login id")
        sis = there("sis user id") + login if login else []
        columns = [*there("student", "id"), *sis, *there("section")]
        rows.append({columns[0]: "    Points Possible", column: whole})
        marks = (column, "")
    elif len(there("identifier", "grade", "last modified (grade)")) == 3:
        columns = [name for name in roster.columns if name]
        comments = (there("feedback comments") or ["Feedback comments"])[0]
        columns += [comments] if comments not in columns else []
        marks = (there("grade")[0], comments)
    else:
        columns = there("email address", "id number", "username")[:1]
        if not columns:
            raise GradebookError(
                f"{roster.path} has the columns {', '.join(roster.columns)}; for Moodle it needs "
                "Identifier, Grade and Last modified (grade), as a grading worksheet has, or else "
                "Email address, ID number or Username"
            )
        marks = (column, f"{column} (feedback)")
    columns += [name for name in marks if name and name not in columns]
    for person in roster.people:
        graded = book.rows.get(_cell(person.identity) or _cell(person.name))
        if graded is None:
            continue
        row = {**person.row, marks[0]: graded.get("points", "")}
        if marks[1]:
            row[marks[1]] = _comment(graded, book.tasks)
        rows.append(row)
    return "\ufeff" + csv_text(columns, rows)


def _comment(row: Row, tasks: Sequence[Task]) -> str:
    """A student's row in a sentence."""
    parts = [f"{t.exercise}: {row.get(f'{t.exercise} state', '')}" for t in tasks]
    return f"{row.get('points', '')} of {row.get('of', '')} points. {'; '.join(parts)}."


# --- what the class got wrong -------------------------------------------------------------------


def mistakes(submissions: Iterable[Submission]) -> list[tuple[str, str, int]]:
    """Exercise, known mistake, and how many students made it; by exercise, the commonest first."""
    count = Counter(
        (name, result.mistake)
        for one in submissions
        for name, result in one.results.items()
        if result.mistake
    )
    order = sorted(count.items(), key=lambda item: (_exercise(item[0][0]), -item[1], item[0][1]))
    return [(name, mistake, number) for (name, mistake), number in order]


def mistakes_text(made: Iterable[tuple[str, str, int]]) -> str:
    """What `mistakes` finds, as CSV with a byte-order mark."""
    columns = ["exercise", "mistake", "students"]
    rows = [{"exercise": n, "mistake": _cell(text), "students": str(k)} for n, text, k in made]
    return "\ufeff" + csv_text(columns, rows)


def _exercise(name: str) -> list[int]:
    return [int(part) for part in re.split(r"[.v]", name)]
