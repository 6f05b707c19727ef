"""The playground: two networks train in the browser, one of them without one condition of collapse.

Hand-written JavaScript, no build step, no network: `engine.js` trains and measures (held to PyTorch
and to `ncourse.metrics` by `tests/site/test_playground.py`), `page.js` shows. Both are put into the
page as they are, because pages are opened as files and a browser fetches no module from there.

A teacher can steer it from the browser's console, and tests do; each function returns a promise of
what `state()` is then:

| `window.playground` | does |
|---|---|
| `reset({preset, seed, without, ...})` | starts anew from the defaults, a preset, or settings |
| `play(epochs)`, `pause()` | trains on, at most so many epochs; stops |
| `step()` | trains both runs by one epoch |
| `state()` | `{settings, without, playing, runs: [{epoch, train_error, nc1, ...}, {...}]}` |
| `presets`, `defaults` | what `reset` knows |

`runs` holds the run first and its control second. `without` names the condition that is taken from
the control ("weight_decay"), or holds its settings (`{weight_decay: 0}`).
"""

import base64
import html as _html
import json
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["fragment", "playground", "source"]

_FOLDER = Path(__file__).parent


@cache
def source(name: str) -> str:
    """The text of "engine.js", "page.js", "style.css" or "digits.txt"."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def fragment(*, hero: bool = False, settings: dict[str, Any] | None = None) -> str:
    """The playground as HTML that needs nothing else; once on a page.

    Args:
        hero: whether it heads a page: the settings are folded in.
        settings: what `window.playground.reset` takes; the address of the page goes before it.
    """
    options = json.dumps({"hero": hero, "settings": settings or {}}).replace("<", "\\u003c")
    script = source("page.js").replace("\nexport ", "\n")
    style = base64.b64encode(source("style.css").encode()).decode()
    return (
        # HTML allows this within a page, and <style> only in its head.
        f'<link rel="stylesheet" href="data:text/css;charset=utf-8;base64,{style}">\n'
        f'<section class="nc-playground{" nc-hero" if hero else ""}" aria-label="Playground">'
        "<noscript><p>Two networks would train here, one of them without weight decay. Both reach "
        "zero training error; only the features of the first draw together into three points. "
        "It takes a browser that runs scripts.</p></noscript></section>\n"
        f'<script type="text/plain" id="nc-playground-engine">\n{source("engine.js")}</script>\n'
        f'<script type="text/plain" id="nc-playground-digits">{source("digits.txt")}</script>\n'
        # At once and not as a module: what is built while the page is read shifts nothing.
        f'<script>(() => {{\n"use strict";\n{script}\n'
        f"mountPlayground(document.querySelector('.nc-playground'), {options});\n}})();</script>\n"
    )


class _Frame:
    """A whole small page in a frame of its own: it can neither see nor change the notebook's."""

    def __init__(self, page: str) -> None:
        self.page = page

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        words = "The playground: run this cell to see two networks train, side by side."
        return {
            "text/plain": words,
            "text/html": f'<iframe title="{words}" sandbox="allow-scripts" '
            'style="width:100%;max-width:60rem;height:62rem;border:0" '
            f'srcdoc="{_html.escape(self.page)}">{words}</iframe>',
        }


def playground(**settings: Any) -> _Frame:
    """The playground in a notebook's cell.

    Args:
        settings: what `window.playground.reset` takes, as `preset="no-room"` or `seed=3`.

    Where the notebook is not trusted, Jupyter shows the one sentence that is stored beside it.
    """
    body = fragment(settings=settings)
    return _Frame(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><body>{body}</body></html>'
    )
