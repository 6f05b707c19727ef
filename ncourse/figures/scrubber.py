"""A slider over figures that also moves where no kernel runs.

In a live notebook it is an ipywidgets slider; on a page it is plain HTML with all frames inside.
"""

import base64
import html
import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure

from ncourse.figures.plots import png

__all__ = ["Scrubber"]

MAX_FRAMES = 20
MAX_BYTES = 400_000


class Scrubber:
    """One figure per value, with a slider to go through them.

    Args:
        draw: `draw(value) -> (figure, alt)`: the frame, and one sentence that says what is in it.
        values: what the slider runs over, in order; 2 to 20 of them.
        label: what the values are, e.g. "epoch"; shown beside the slider.
        start: index of the frame shown first; negative counts from the end.

    Raises:
        ValueError: if there are fewer than 2 or more than 20 values, an alt text is empty, or the
            frames together exceed 400 kB.
    """

    def __init__(
        self,
        draw: Callable[[Any], tuple[Figure, str]],
        values: Sequence[Any],
        label: str,
        *,
        start: int = 0,
    ) -> None:
        if not 2 <= len(values) <= MAX_FRAMES:
            raise ValueError(f"got {len(values)} values; a scrubber takes 2 to {MAX_FRAMES}")
        self.label = label
        self.values = [str(value) for value in values]
        self.start = range(len(values))[start]
        self.frames: list[bytes] = []
        self.alts: list[str] = []
        for value in values:
            figure, alt = draw(value)
            if not alt.strip():
                raise ValueError(f"the frame for {label} {value} has no alt text")
            self.frames.append(png(figure, dpi=120))
            self.alts.append(alt)
        size = sum(map(len, self.frames))
        if size > MAX_BYTES:
            raise ValueError(
                f"{len(self.frames)} frames take {size // 1000} kB; {MAX_BYTES // 1000} kB are "
                "allowed — draw fewer, smaller or plainer frames"
            )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The live slider for a notebook with a kernel, the same frames in HTML for a page."""
        return {
            **self._widget()._repr_mimebundle_(),
            "text/plain": f"Scrubber over {self.label}: {', '.join(self.values)}",
            "text/html": self._html(),
        }

    def _widget(self) -> Any:
        from ipywidgets import HTML, Image, SelectionSlider, VBox

        slider = SelectionSlider(
            options=list(zip(self.values, range(len(self.values)), strict=True)),
            value=self.start,
            description=self.label,
            style={"description_width": "initial"},
            layout={"width": "min(34em, 100%)"},
        )
        image = Image(value=self.frames[self.start], format="png", layout={"max_width": "100%"})
        caption = HTML(f"<small>{html.escape(self.alts[self.start])}</small>")

        def show(change: dict[str, Any]) -> None:
            image.value = self.frames[change["new"]]
            caption.value = f"<small>{html.escape(self.alts[change['new']])}</small>"

        slider.observe(show, names="value")
        return VBox([slider, image, caption])

    def _html(self) -> str:
        """A labelled range input and one image; no request leaves the page."""
        key = f"nc-{uuid.uuid5(uuid.NAMESPACE_OID, self.label + repr(self.frames)).hex[:12]}"
        pictures = []
        for index, (frame, alt) in enumerate(zip(self.frames, self.alts, strict=True)):
            data = base64.b64encode(frame).decode()
            hidden = "" if index == self.start else " hidden"
            pictures.append(
                f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt)}" '
                f'style="max-width:100%"{hidden}>'
            )
        options = html.escape(json.dumps(self.values))
        return (
            f'<div class="nc-scrubber" id="{key}" data-values="{options}">'
            f'<label>{html.escape(self.label)} <input type="range" min="0" '
            f'max="{len(self.frames) - 1}" value="{self.start}" step="1" '
            'style="width:min(24em,60%);vertical-align:middle"></label> '
            f"<output>{html.escape(self.values[self.start])}</output>"
            f"<div>{''.join(pictures)}</div>"
            f"<script>(function(){{const root=document.getElementById('{key}');"
            "const input=root.querySelector('input'),output=root.querySelector('output');"
            "const images=root.querySelectorAll('img'),values=JSON.parse(root.dataset.values);"
            "function show(){const at=+input.value;images.forEach((image,i)=>{"
            "image.hidden=i!==at});output.textContent=values[at];"
            "input.setAttribute('aria-valuetext',values[at]+': '+images[at].alt)}"
            "input.addEventListener('input',show);show()})()</script></div>"
        )
