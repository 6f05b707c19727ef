"""What SECURITY.md says of the code: nothing is sent, and no file of others is executed."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

REPOSITORY = Path(__file__).parents[1]
SOURCES = sorted([*(REPOSITORY / "ncourse").rglob("*.py"), *(REPOSITORY / "tests").rglob("*.py")])
PACKAGE = [path for path in SOURCES if path.is_relative_to(REPOSITORY / "ncourse")]
NETWORK = {"urllib", "requests", "httpx", "aiohttp", "socket", "http", "ftplib", "smtplib"}
UNSAFE = {"pickle.load", "pickle.loads", "yaml.load", "marshal.load", "eval", "os.system"}


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def loads_code(path: Path) -> list[str]:
    """Calls that can run what is in a file."""
    found = []
    for name, call in calls(path):
        safe = any(
            k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in call.keywords
        )
        if name in UNSAFE or (name == "torch.load" and not safe):
            found.append(f"{path.name}:{call.lineno} {name}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_file_is_executed_by_reading_it(path: Path) -> None:
    # A copy of an object made in the same test is no file.
    assert [line for line in loads_code(path) if "test_metrics_stream" not in line] == []


def test_what_executes_files_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("import torch, pickle\ntorch.load(f)\npickle.loads(b)\n")
    assert loads_code(path) == ["a.py:2 torch.load", "a.py:3 pickle.loads"]
    path.write_text("torch.load(f, weights_only=True)\n")
    assert loads_code(path) == []


def test_the_package_has_no_way_to_the_network_of_its_own() -> None:
    for path in PACKAGE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {name.split(".")[0] for name in names} & NETWORK, path


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_a_notebook_loads_nothing_from_elsewhere(path: Path) -> None:
    """Not from its texts and not from its outputs: links wait to be clicked, pictures do not."""
    text = "\n".join(
        str(cell.source) + str(cell.get("outputs", ""))
        for cell in nbformat.read(path, as_version=4).cells
    )
    assert re.findall(r'(?:src|srcset)=\\?"(?!data:)(?:https?:)?//[^"]*', text) == []
    assert re.findall(r"!\[[^\]]*\]\(https?:[^)]*\)", text) == []
    assert not re.search(r"<(?:link|iframe|object|embed)\b|@import|fetch\(|XMLHttpRequest", text)
