// What live figures share: arrays, colours and markers, the view of a sphere, the custom element.
// Hand-written, without a build step; `ncourse.figures.live.script` puts it in front of a module.

const STYLE = `
.nc-live { --nc-ink: #222; --nc-soft: #595959; --nc-line: #c4c9d0; --nc-tint: #f0ead6;
  --nc-low: 179 88 6; --nc-high: 84 39 136; --nc-page: #fff; --nc-accent: #005a8c;
  --nc-0: #0072b2; --nc-1: #d55e00; --nc-2: #009e73; --nc-3: #b8568f; --nc-4: #b87d00;
  --nc-5: #3a93c4; --nc-6: #000; --nc-7: #a89b00; --nc-8: #7f7f7f; --nc-9: #6b3d00;
  display: block; container-type: inline-size; color: var(--nc-ink); font-size: 15px;
  line-height: 1.35; margin: 0.4em 0; text-align: left; }
html[data-theme="dark"] .nc-live, html[theme="dark"] .nc-live, body.vscode-dark .nc-live,
body[data-jp-theme-light="false"] .nc-live { --nc-ink: #e6e6e6; --nc-soft: #b4bac4;
  --nc-line: #555e6b; --nc-tint: #2f2c22; --nc-low: 240 150 60; --nc-high: 178 150 235;
  --nc-page: #121212; --nc-accent: #7cc4f0; --nc-0: #4aa8e0; --nc-1: #f08040; --nc-2: #2fc79a;
  --nc-3: #e09cc4; --nc-4: #f0b840; --nc-5: #8fd0f5; --nc-6: #fff; --nc-7: #f0e442; --nc-8: #a5a5a5;
  --nc-9: #c8925a; }
.nc-live .nc-bar { display: flex; flex-wrap: wrap; gap: 0.3em 0.6em; align-items: center; }
.nc-live .nc-bar label { display: flex; gap: 0.5em; align-items: center; flex: 0 1 auto;
  width: auto; margin: 0; }
.nc-live .nc-rail { display: flex; gap: 0.6em; align-items: center; }
.nc-live input[type="range"] { width: 15em; max-width: 40cqw; margin: 0; accent-color: var(--nc-accent); }
.nc-live output { min-width: 3em; font-weight: 600; font-variant-numeric: tabular-nums; }
.nc-live button, .nc-live select { min-width: 2.2em; height: 2.2em; padding: 0 0.5em; font: inherit;
  color: var(--nc-ink); background: transparent; border: 1px solid var(--nc-line); border-radius: 5px;
  cursor: pointer; }
.nc-live select option { color: #222; background: #fff; }
.nc-live button[aria-pressed="true"] { background: var(--nc-accent); color: var(--nc-page); }
.nc-live :focus-visible { outline: 2px solid var(--nc-accent); outline-offset: 2px; }
.nc-live .nc-says { margin: 0.2em 0 0; color: var(--nc-soft); font-size: 14px; min-height: 1.4em; }
.nc-live .nc-panels { display: grid; gap: 0.2em 1.2em; align-items: start; margin-top: 0.4em; }
.nc-live .nc-panel { position: relative; min-width: 0; }
.nc-live .nc-title { font-size: 14px; font-weight: 600; min-height: 1.3em; }
.nc-live .nc-numbers { font-size: 13px; font-variant-numeric: tabular-nums; color: var(--nc-soft); }
.nc-live svg { display: block; width: 100%; height: auto; overflow: visible;
  font: var(--nc-type, 12.5px) system-ui, "DejaVu Sans", sans-serif; fill: var(--nc-ink); user-select: none; }
.nc-live .nc-tip { position: absolute; z-index: 2; padding: 3px 5px; pointer-events: none;
  background: var(--nc-page); border: 1px solid var(--nc-line); border-radius: 4px; font-size: 12px; }
.nc-live .nc-tip canvas { display: block; width: 64px; height: 64px; image-rendering: pixelated; }
.nc-live .nc-hidden { display: none; }
@container (max-width: 540px) { .nc-live .nc-panels { grid-template-columns: 1fr !important;
  --nc-type: 12.5px !important; } }
`;

// --- arrays ---

// {shape, bits, low, step, data} of `ncourse.figures.live.pack` as {shape, values}.
export function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed.data), one => one.charCodeAt(0));
  const integers = packed.bits === 16 ? new Uint16Array(bytes.buffer)
    : packed.bits === 8 ? bytes : Array.from(bytes).flatMap(one => [one >> 4, one & 15]);
  return {
    shape: packed.shape,
    values: Float64Array.from(integers, one => packed.low + packed.step * one),
  };
}

// The array at time t between frames: an array of `shape` without its first axis, as rows.
export function between(array, t) {
  const [frames, ...rest] = array.shape;
  const size = rest.reduce((product, one) => product * one, 1);
  const at = Math.min(Math.max(t, 0), frames - 1);
  const first = Math.min(Math.floor(at), Math.max(frames - 2, 0));
  const second = Math.min(first + 1, frames - 1);
  const part = at - first;
  const flat = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    const from = array.values[first * size + i];
    flat[i] = from + part * (array.values[second * size + i] - from);
  }
  return rows(flat, rest[rest.length - 1]);
}

export function rows(flat, width) {
  const made = [];
  for (let i = 0; i < flat.length; i += width) made.push(Array.from(flat.slice(i, i + width)));
  return made;
}

// --- geometry ---

// (x, y, z) seen from `turn` and `tilt` degrees: [right, up, towards the eye].
export function seen([x, y, z], [turn, tilt]) {
  const a = turn * Math.PI / 180, b = tilt * Math.PI / 180;
  const near = Math.cos(a) * x + Math.sin(a) * y;
  return [
    -Math.sin(a) * x + Math.cos(a) * y,
    Math.cos(b) * z - Math.sin(b) * near,
    Math.sin(b) * z + Math.cos(b) * near,
  ];
}

export const dot = (a, b) => a.reduce((sum, one, i) => sum + one * b[i], 0);

// The angle between two vectors in degrees.
export function angle(a, b) {
  const cosine = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  return Math.acos(Math.min(1, Math.max(-1, cosine))) * 180 / Math.PI;
}

// The part of a polygon where n·x + c >= 0.
export function cut(polygon, n, c) {
  const made = [];
  polygon.forEach((p, i) => {
    const q = polygon[(i + 1) % polygon.length];
    const a = n[0] * p[0] + n[1] * p[1] + c, b = n[0] * q[0] + n[1] * q[1] + c;
    if (a >= 0) made.push(p);
    if ((a < 0) !== (b < 0)) {
      const part = a / (a - b);
      made.push([p[0] + part * (q[0] - p[0]), p[1] + part * (q[1] - p[1])]);
    }
  });
  return made;
}

// --- drawing ---

export function element(tag, attributes = {}, parent = null, text = "") {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

export function draw(tag, attributes = {}, parent = null, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

export const colour = k => k < 0 ? "var(--nc-soft)" : `var(--nc-${k % 10})`;

const polygon = (sides, start) => Array.from({length: sides}, (_, i) => {
  const a = start + 2 * Math.PI * i / sides;
  return `${i ? "L" : "M"}${(1.15 * Math.cos(a)).toFixed(3)} ${(1.15 * Math.sin(a)).toFixed(3)}`;
}).join("") + "Z";
const star = Array.from({length: 10}, (_, i) => {
  const a = -Math.PI / 2 + Math.PI * i / 5, r = i % 2 ? 0.5 : 1.3;
  return `${i ? "L" : "M"}${(r * Math.cos(a)).toFixed(3)} ${(r * Math.sin(a)).toFixed(3)}`;
}).join("") + "Z";
const plus = "M-.4-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z";
const cross = "M-1.1-.6L-.6-1.1 0-.5 .6-1.1 1.1-.6 .5 0 1.1 .6 .6 1.1 0 .5-.6 1.1-1.1 .6-.5 0Z";
// Class k's shape, of radius 1: as MARKERS of `ncourse.figures.plots`.
const SHAPES = [
  "M1 0A1 1 0 1 1-1 0A1 1 0 1 1 1 0Z", "M-.9-.9H.9V.9H-.9Z", polygon(3, -Math.PI / 2),
  polygon(4, 0), polygon(3, Math.PI / 2), plus, cross, star, polygon(3, Math.PI), polygon(3, 0),
];
export const shape = k => SHAPES[k < 0 ? 0 : k % 10];

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// Make <nc-name> live: `start(root, data)` draws into it what its JSON says.
export function define(name, start) {
  if (customElements.get(`nc-${name}`)) return;
  if (!document.getElementById("nc-live-style"))
    element("style", {id: "nc-live-style"}, document.head, STYLE);
  customElements.define(`nc-${name}`, class extends HTMLElement {
    connectedCallback() {
      const json = this.querySelector("script[type='application/json']");
      if (this.dataset.live || !json) return;
      this.dataset.live = "1";
      this.classList.add("nc-live");
      const data = JSON.parse(json.textContent);
      this.replaceChildren();
      // In slides arrow keys turn pages, in a notebook they choose cells; here they move the figure.
      this.addEventListener("keydown", event => event.stopPropagation());
      start(this, data);
    }
  });
}
