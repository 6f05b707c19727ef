"""A module imports only from floors below its own, and the lower floors need no notebook tools."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ncourse"

FLOORS = [
    {"simplex", "files"},
    {"claims"},
    {"metrics", "data"},
    {"ufm", "models", "features"},
    {"training"},
    {"continual"},
    {"papers"},
    {"plots"},
    {"scrubber", "exercises"},  # a scrubber shows figures, so it stands on plots
    {"references"},
    {"book"},
    {"pages", "assignments", "slides"},
    {"grading", "teaching"},
    {"site", "runs"},
    {"cli"},
]
FLOOR = {module: index for index, floor in enumerate(FLOORS) for module in floor}

# The one import upwards, inside a method: `History.plot()`.
ALLOWED = {("training", "plots")}

COURSE_ONLY = {
    "matplotlib", "PIL", "IPython", "ipywidgets", "markdown_it", "mdit_py_plugins", "nbclient",
    "nbformat", "pybtex", "pygments", "rich", "typer", "yaml",
}  # fmt: skip
PLAIN_INSTALL = FLOOR["papers"]


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    here = room(path)
    assert here in FLOOR, f"{here} has no floor: add it to FLOORS where it belongs"
    inner = {
        name.split(".")[1]
        for name in imported(path)
        if name.startswith("ncourse.") and name.split(".")[1] in FLOOR
    }
    for other in inner - {here}:
        if (here, other) not in ALLOWED:
            assert FLOOR[other] < FLOOR[here], f"{here} imports {other}, which is not below it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_lower_floors_need_no_notebook_tools(path):
    if FLOOR[room(path)] <= PLAIN_INSTALL:
        assert not {name.split(".")[0] for name in imported(path)} & COURSE_ONLY


def test_plain_install_lists_what_the_lower_floors_import():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = {line.split(">")[0].replace("-", "_") for line in project["dependencies"]}
    listed = {{"scikit_learn": "sklearn"}.get(name, name) for name in listed} | {"torchvision"}
    standard = set(__import__("sys").stdlib_module_names) | {"ncourse", ""}
    for path in FILES:
        if FLOOR[room(path)] <= PLAIN_INSTALL:
            outside = {name.split(".")[0] for name in imported(path)} - standard
            assert outside <= listed, f"{path.name} imports {outside - listed}"
