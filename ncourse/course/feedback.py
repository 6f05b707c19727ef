"""What a student gets back: one HTML file, the code beside the verdict, which needs nothing else.

Everything of the student is escaped: such a file is opened inside a learning platform.
"""

import html
import re
from collections.abc import Sequence
from pathlib import Path

from ncourse.course.assignments import Task
from ncourse.course.gradebook import points, state
from ncourse.course.grading import Submission
from ncourse.files import write_whole

__all__ = ["page", "write"]

SIGNS = {"solved": ("✓", "good"), "not yet": ("✗", "bad"), "fault": ("✗", "bad")}
MOST_CODE = 20_000  # characters of an answer that are shown
STYLE = """
:root { color-scheme: light dark; --line: #d0d5da; --code: #f5f6f8; }
.good { color: #2e7d32; } .bad { color: #b45309; } .none { color: #5b6470; }
@media (prefers-color-scheme: dark) {
  :root { --line: #444a50; --code: #24282c; }
  .good { color: #7bc67e; } .bad { color: #f0a35e; } .none { color: #a8b0bb; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 1rem auto; padding: 0 1rem; }
section { border-top: 1px solid var(--line); padding: .5rem 0 1rem; }
.two { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 1.5rem; }
@media (max-width: 700px) { .two { grid-template-columns: minmax(0, 1fr); gap: 0; } }
pre { background: var(--code); padding: .8rem; overflow-x: auto; font-size: 14px; margin: 0; }
code { background: var(--code); } p { overflow-wrap: anywhere; margin: .3rem 0; }
"""


def page(one: Submission, tasks: Sequence[Task], *, partial: bool = False) -> str:
    """A student's feedback as HTML: each exercise with its verdict, points, message and code."""
    states = {t.exercise: state(one.results.get(t.exercise), partial=partial) for t in tasks}
    reached = sum(points(task, states[task.exercise]) for task in tasks)
    total = sum(task.points for task in tasks)
    name = html.escape(one.student)
    lines = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{name}</title><style>{STYLE}</style></head><body>",
        f"<h1>{name}</h1><p><b>{reached} of {total} points.</b></p>",
    ]
    lines += [f"<p>{_text(one.problem)}</p>"] if one.problem else []
    for task in tasks:
        result = one.results.get(task.exercise)
        if result is None:
            continue
        said = states[task.exercise]
        sign, kind = SIGNS.get(result.state, ("○", "none"))
        source = (one.answers or {}).get(task.exercise, "")
        source = source if len(source) <= MOST_CODE else source[:MOST_CODE] + "\n…"
        code = f"<pre><code>{html.escape(source)}</code></pre>" if source else "<p>No code.</p>"
        lines += [
            f"<section><h2>Exercise {html.escape(task.exercise)}: {points(task, said)} of "
            f"{task.points} points</h2>",
            f'<div class="two"><div>{code}</div><div>',
            f'<p><b class="{kind}">{sign} {html.escape(said)}.</b></p>',
            f"<p>{_text(result.message)}</p></div></div></section>",
        ]
    page = "\n".join([*lines, "</body></html>\n"])
    return page.encode("utf-8", "replace").decode("utf-8")


def _text(message: str) -> str:
    """A message: words between backticks as code, everything else as it is."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", html.escape(message)).replace("\n", "<br>")


def write(path: Path, one: Submission, tasks: Sequence[Task], *, partial: bool = False) -> None:
    """Write a student's page in one step.

    Raises:
        OSError: what the system says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page(one, tasks, partial=partial))
