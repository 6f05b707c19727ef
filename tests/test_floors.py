"""Two wings, and who may import whom: the library knows nothing of the course made of it."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ncourse"
FILES = sorted(PACKAGE.rglob("*.py"))
COURSE = [path for path in FILES if path.relative_to(PACKAGE).parts[0] == "course"]
EXERCISES = [path for path in FILES if path.relative_to(PACKAGE).parts[0] == "exercises"]
LIBRARY = [path for path in FILES if path not in COURSE and path not in EXERCISES]
FIGURES = [path for path in LIBRARY if path.relative_to(PACKAGE).parts[0] == "figures"]


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Each dotted name that a file imports, and the function or method that does (or "")."""

    def within(node: ast.AST, place: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, place) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{name_of(path)}, line {child.lineno}: a relative import"
                yield from ((f"{child.module}.{alias.name}", place) for alias in child.names)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from within(child, f"{place}.{child.name}".removeprefix("."))
            else:
                yield from within(child, place)

    return within(ast.parse(path.read_text(encoding="utf-8")), "")


def below(name: str, *packages: str) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def test_both_wings_are_there():
    assert {path.stem for path in LIBRARY} >= {"simplex", "plots", "papyan2020"}
    assert {path.stem for path in COURSE} >= {"manifest", "site", "cli"}
    assert {path.stem for path in EXERCISES} >= {"chapter01"}


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_the_library_never_imports_the_course(path):
    for name, _ in imported(path):
        assert not below(name, "ncourse.course", "ncourse.exercises"), f"it imports {name}"


@pytest.mark.parametrize("path", EXERCISES, ids=name_of)
def test_exercises_import_the_library_alone(path):
    for name, _ in imported(path):
        assert not below(name, "ncourse.course"), f"it imports {name}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "papers").glob("*.py")), ids=name_of)
def test_a_paper_stands_alone(path):
    for name, _ in imported(path):
        within = name.removeprefix("ncourse.papers.").split(".")[0]
        other = PACKAGE / "papers" / f"{within}.py"
        assert not (below(name, "ncourse.papers") and other.is_file()), (
            f"it imports {name}; what two papers need belongs into the library below them"
        )


@pytest.mark.parametrize("path", [p for p in LIBRARY if p not in FIGURES], ids=name_of)
def test_the_library_draws_only_the_history_of_a_run(path):
    drawing = {place for name, place in imported(path) if below(name, "ncourse.figures")}
    assert drawing <= {"History.plot"}


def test_a_plain_install_is_all_that_the_library_needs():
    """Figures and run folders are the exceptions: they come with the extra `course`.

    So are imports within functions: most say what to install where it is missing, and IPython is
    there whenever a notebook's kernel writes a progress bar.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    plain, course, vision = (
        {Requirement(line).name.replace("-", "_") for line in lines}
        for lines in (
            project["dependencies"],
            project["optional-dependencies"]["course"],
            project["optional-dependencies"]["vision"],
        )
    )
    assert not plain & course, "a plain install brings notebook tools"
    found = {*(plain - {"scikit_learn"}), *vision, "sklearn", "ncourse", *sys.stdlib_module_names}
    asked_for = {
        ("IPython", "_Output.write"),
        ("avalanche", "avalanche_plugin"),
        ("lightning", "lightning_callback"),
        ("matplotlib", "CollapseMetric.plot"),
        ("safetensors", "_read_safetensors"),
        ("transformers", "hugging_face_callback"),
    }
    for path in LIBRARY:
        if path not in FIGURES and path != PACKAGE / "runs.py":
            all_of_it = {(name.split(".")[0], place) for name, place in imported(path)}
            outside = {name for name, _ in all_of_it - asked_for} - found
            assert not outside, f"{name_of(path)} imports {outside}"
