"""Mutation testing: change one thing in a module, run its tests, see whether one fails.

    make mutants                             # installs mutmut 3.8.1, then does all five modules
    python tests/mutants.py simplex          # or claims, tables, ufm, metrics
    python tests/mutants.py simplex --again  # only what survived, after a change to the tests

mutmut works in a copy of the package under `_build/mutants/`, so the checkout is never mutated. It
names the mutants that survived; this script prints them as diffs, and how many there are of each
kind. What is known about them is in mutants.md.
"""

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# What a module is held to: its own tests, its doctests, and the properties that name it.
TESTS = {
    "simplex": ["test_simplex.py", "test_properties.py"],
    "claims": ["test_claims.py"],
    "tables": ["test_tables.py", "test_properties.py"],
    "ufm": ["test_ufm.py", "test_properties.py"],
    "metrics": [
        *("test_metrics.py", "test_metrics_stream.py", "test_own_data.py", "test_own_models.py"),
        *("test_elsewhere.py", "test_refusals.py", "test_properties.py"),
    ],
}

# Left out, as a mutant takes a fraction of a second: tests that start processes or train or solve
# for long; and the doctests of a function's copies, which are all the same.
SKIPPED = [
    "hostile_input_gets", "processes", "__mutmut", "torchvision", "twenty_random", "norms_follow",
    "too_few_dimensions", "nudge_off", "orientation_is_uniform", "(solver_finds and not 0.1-0.2)",
    "invariant_under", "(as_accurate and -1])", "(any_batch_size and -1])",
    "loads_little_more", "told_where_it_was_called",
    "what_is_no_mapping",  # a copied `__eq__` may not return NotImplemented
]  # fmt: skip

SETTINGS = """
[tool.mutmut]
source_paths = ["ncourse"]
only_mutate = {files}
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-k", "{skipped}", "-p", "no:cacheprovider",
  "-p", "instrumented",
  "-p", "no:unraisableexception", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
also_copy = ["instrumented.py"]
process_isolation = "forkserver"
timeout_multiplier = 4.0
timeout_constant = 30.0
"""

# A mutant is a fork of a process that has imported everything once. Shapes are checked as in the
# tests; jaxtyping's own plugin refuses a second run in one process, so this one sets its hook. It
# also sorts the tests, the fastest first, and lets properties be tried on fewer examples.
PLUGIN = """
import gc
import json
from pathlib import Path

import hypothesis
import jaxtyping

hypothesis.settings.register_profile(
    "mutants", max_examples=15, derandomize=True, deadline=None, database=None
)

conf = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
with jaxtyping.install_import_hook("ncourse", conf):
    import ncourse.continual, ncourse.metrics.stream, ncourse.ufm

def pytest_collection_modifyitems(items):
    stats = Path(__file__).with_name("mutmut-stats.json")
    seconds = json.loads(stats.read_text())["duration_by_test"] if stats.exists() else {}
    items.sort(key=lambda item: seconds.get(item.nodeid, 0))

def pytest_sessionfinish():
    gc.freeze()  # or each mutant would walk through all of torch
"""

# Several commands of mutmut in one process, each up to a semicolon.
CALLS = """
import itertools, sys
from mutmut.__main__ import cli

for last, words in itertools.groupby(sys.argv[1:], lambda word: word == ";"):
    if not last:
        cli(list(words), standalone_mode=False)
"""


def decorated_below(code: str) -> str:
    """The same module with `@decorator` written as `name = decorator(name)` below each function.

    mutmut does not change decorated functions, which would leave out `measure` and properties.
    """
    lines = code.split("\n")
    functions = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.FunctionDef)]
    for node in sorted(functions, key=lambda node: -node.lineno):
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        if decorators in ([], ["classmethod"]):
            continue
        call = node.name
        for decorator in reversed(decorators):
            call = f"{decorator}({call})"
        lines.insert(node.end_lineno, f"{' ' * node.col_offset}{node.name} = {call}")
        del lines[node.decorator_list[0].lineno - 1 : node.lineno - 1]
    return "\n".join(lines)


def files_of(module: str) -> list[str]:
    """Relative paths of a module's files: it is one, or a folder of some."""
    folder = ROOT / "ncourse" / module
    files = sorted(folder.glob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    return [path.relative_to(ROOT).as_posix() for path in files]


def copy_for(module: str) -> Path:
    """A copy of what the tests of a module need, with mutmut's settings for it."""
    folder = ROOT / "_build" / "mutants" / module
    for name in ("ncourse", "tests"):
        ignore = shutil.ignore_patterns("__pycache__", "bench")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore, dirs_exist_ok=True)
    files = files_of(module)
    for name in files:
        path = folder / name
        path.write_text(decorated_below(path.read_text()))
    settings = SETTINGS.format(
        files=json.dumps(files),
        tests=json.dumps([*(f"tests/{name}" for name in TESTS[module]), *files]),
        skipped=" and ".join(f"not {name}" for name in SKIPPED),
    )
    project = re.sub(r"--jaxtyping-packages=\S+", "", (ROOT / "pyproject.toml").read_text())
    (folder / "pyproject.toml").write_text(project + settings)
    (folder / "instrumented.py").write_text(PLUGIN)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", choices=TESTS)
    parser.add_argument("--again", action="store_true", help="only what survived the last run")
    parser.add_argument("--jobs", default="1")
    given = parser.parse_args()
    folder = copy_for(given.module)
    env = os.environ | {"OMP_NUM_THREADS": "1", "HYPOTHESIS_PROFILE": "mutants"}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"

    def mutmut(*arguments: str, show: bool = False) -> str:
        command = [sys.executable, "-c", CALLS, *arguments]
        out = None if show else subprocess.PIPE
        process = subprocess.run(command, cwd=folder, env=env, stdout=out, text=True, check=True)
        return process.stdout or ""

    verdicts = [folder / "mutants" / f"{name}.meta" for name in files_of(given.module)]
    if given.again:
        for path in verdicts:
            known = json.loads(path.read_text())
            codes = known["exit_code_by_key"]
            known["exit_code_by_key"] = {name: code or None for name, code in codes.items()}
            path.write_text(json.dumps(known))
    mutmut("run", "--max-children", given.jobs, show=True)
    codes: dict[str, int | None] = {}
    for path in verdicts:
        codes |= json.loads(path.read_text())["exit_code_by_key"]
    survivors = [name for name, code in codes.items() if code not in (1, 3)]  # pytest's failures
    print(mutmut(*(word for name in survivors for word in ("show", name, ";"))))
    mutmut("export-cicd-stats")
    stats = json.loads((folder / "mutants" / "mutmut-cicd-stats.json").read_text())
    print(f"{given.module}:", ", ".join(f"{count} {state}" for state, count in stats.items()))
    print(f"killed: {100 * (stats['killed'] + stats['timeout']) / stats['total']:.1f} %")


if __name__ == "__main__":
    main()
