"""Live figures: arrays that an ES module draws in a notebook, on the site and in slides.

A stored notebook holds one picture and the arrays, no script: where none may run, the picture is
what is seen. A running notebook gets HTML on top, the same that the site and the slides make of the
stored arrays, with the module inside, because a page that is opened as a file cannot fetch one.
"""

import base64
import html
import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["LIVE", "Live", "is_figure", "pack", "running_html", "script", "to_html"]

LIVE = "application/vnd.ncourse.live+json"
"""The mime type of a live figure's arrays: {"module": name, "data": what its module takes}.

The data are JSON inside a string, because notebooks give each entry of a list a line of its own.
"""

MAX_BYTES = 400_000
_FOLDER = Path(__file__).parent
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+)\.js";\n', re.MULTILINE)


class Live:
    """A figure that moves: one picture for where no script runs, and what its module draws.

    Args:
        module: the name of `ncourse/figures/<module>.js`, which draws it.
        data: what the module takes, as JSON.
        picture: PNG of twice the size at which it is shown.
        alt: what a reader who cannot see the picture should know.

    Raises:
        ValueError: if there is no alt text, or if data and picture exceed 400 kB.
    """

    def __init__(self, module: str, data: dict[str, Any], picture: bytes, alt: str) -> None:
        if not alt.strip():
            raise ValueError("alt is empty; say in a sentence what the figure shows")
        self.module, self.data, self.picture, self.alt = module, data, picture, alt
        self.text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        size = len(self.text) + 4 * len(picture) // 3
        if size > MAX_BYTES:
            raise ValueError(
                f"the figure takes {size // 1000} kB; {MAX_BYTES // 1000} kB are allowed — "
                "give it fewer frames or fewer points"
            )

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The picture, the arrays, and for a running notebook the HTML that draws them."""
        width = int.from_bytes(self.picture[16:20], "big") // 2
        bundle = {
            "text/plain": f"{self.alt} (Run the cell, or see the site, to move it.)",
            "image/png": base64.b64encode(self.picture).decode(),
            LIVE: {"module": self.module, "data": self.text},
        }
        metadata = {"image/png": {"alt": self.alt, "width": width}}
        return bundle | {"text/html": running_html(bundle, metadata)}, metadata


def pack(values: Any, *, bits: int = 16) -> dict[str, Any]:
    """An array as JSON: evenly spaced integers in base64, and what they stand for.

    Args:
        values: finite numbers in any shape.
        bits: 4 (two in a byte), 8, or 16 for steps finer than a pixel of any screen.

    Returns:
        shape, bits, least value, step, and data: value = least + step · integer (little endian).

    Raises:
        ValueError: if a value is not finite.
    """
    import numpy as np  # here alone: the command line loads this module, and shall be quick

    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a live figure draws finite numbers; got infinity or nan")
    low = float(array.min()) if array.size else 0.0
    step = (float(array.max()) - low) / (2**bits - 1) if array.size else 0.0
    integers = np.round((array - low) / (step or 1.0)).astype("<u2" if bits == 16 else "u1")
    if bits == 4:
        pairs = np.append(integers.ravel(), [0] * (integers.size % 2)).reshape(-1, 2)
        integers = (16 * pairs[:, 0] + pairs[:, 1]).astype("u1")
    return {
        "shape": list(array.shape),
        "bits": bits,
        "low": low,
        "step": step,
        "data": base64.b64encode(integers.tobytes()).decode(),
    }


def to_html(bundle: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """HTML of a stored figure: its picture, and if it is live what the module of `script` takes.

    Args:
        bundle: the output's data, with "image/png".
        metadata: the output's metadata; of "image/png" the alt text and the width in CSS pixels.
    """
    picture = "".join(bundle["image/png"]).strip()
    details = metadata["image/png"]
    image = (
        f'<img class="nc-figure" src="data:image/png;base64,{picture}" '
        f'alt="{html.escape(details["alt"])}" width="{details["width"]}" '
        'style="max-width:100%;background:#fff">'
    )
    if LIVE not in bundle:
        return image
    made = bundle[LIVE]
    # "</" would end the script in which the JSON stands; in JSON "<\/" is the same text.
    text = made["data"].replace("</", "<\\/")
    key = uuid.uuid5(uuid.NAMESPACE_OID, text).hex[:12]
    return (
        f'<nc-{made["module"]} id="nc-{key}">{image}'
        f'<script type="application/json">{text}</script></nc-{made["module"]}>'
    )


def running_html(bundle: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """HTML of a stored figure for a notebook: each live one comes with its module.

    Args:
        bundle: the output's data, with "image/png".
        metadata: the output's metadata, as for `to_html`.
    """
    page = to_html(bundle, metadata)
    if LIVE in bundle:
        page += f'<script type="module">{script(bundle[LIVE]["module"])}</script>'
    return page


def is_figure(output: Mapping[str, Any]) -> bool:
    """Whether a notebook's output is a figure of this course, still or live."""
    return "alt" in output.get("metadata", {}).get("image/png", {})


def script(module: str) -> str:
    """The module and what it imports, as one module that can stand in a page.

    Args:
        module: the name of `ncourse/figures/<module>.js`.
    """
    text = (_FOLDER / f"{module}.js").read_text(encoding="utf-8")
    parts = [(_FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in _IMPORT.findall(text)]
    parts.append(_IMPORT.sub("", text))
    return re.sub(r"^export ", "", "\n".join(parts), flags=re.MULTILINE)
