// A map of cells; the chosen one shows its cloud, and what proves the answer for it.
import { colour, define, draw, element, rows, shape, unpack } from "./live.js";

export function start(root, data) {
  const panels = element("div", {class: "nc-panels",
    style: "grid-template-columns: 1.15fr 1fr; max-width: 780px; --nc-shape: 2"}, root);
  const [left, right] = [0, 1].map(() => element("div", {class: "nc-panel"}, panels));
  element("div", {class: "nc-title"}, left, data.title);
  const title = element("div", {class: "nc-title"}, right);
  const says = element("p", {class: "nc-says", "aria-live": "polite"}, root);
  const wide = data.columns.length, high = data.rows.length;
  const x0 = 40, width = 255 / wide, height = 216 / high;
  const map = draw("svg", {viewBox: "0 0 300 262", tabindex: 0, role: "application",
    "aria-label": `${data.title}: arrow keys choose a cell`}, left);
  map.style.cursor = "pointer";
  data.share.forEach((row, i) => row.forEach((share, j) =>
    draw("rect", {x: x0 + j * width, y: 4 + i * height, width, height, "data-cell": `${i},${j}`,
      fill: `rgb(var(--nc-high) / ${0.9 * share})`, stroke: "var(--nc-line)", "stroke-width": 0.4}, map)));
  data.rows.forEach((name, i) => draw("text", {x: x0 - 5, y: 4 + (i + 0.5) * height, "text-anchor": "end",
    "dominant-baseline": "central"}, map, name));
  data.columns.forEach((name, j) => { if (j % 3 === 0)
    draw("text", {x: x0 + (j + 0.5) * width, y: 234, "text-anchor": "middle"}, map, name); });
  draw("text", {x: x0 + 127, y: 254, "text-anchor": "middle"}, map, data.axes[0]);
  draw("text", {transform: "translate(10 112) rotate(-90)", "text-anchor": "middle"}, map, data.axes[1]);
  const ring = draw("rect", {width, height, fill: "none", stroke: "var(--nc-1)", "stroke-width": 3}, map);
  const cloud = draw("svg", {viewBox: "-1.15 -1.15 2.3 2.3", role: "img"}, right);
  cloud.style.overflow = "hidden";
  const array = unpack(data.points), size = array.shape[2] * array.shape[3];
  let cell = [...data.start];

  function show() {
    const [i, j] = cell, at = i * wide + j;
    ring.setAttribute("x", x0 + j * width);
    ring.setAttribute("y", 4 + i * height);
    cloud.replaceChildren();
    draw("rect", {x: -1.14, y: -1.14, width: 2.28, height: 2.28, fill: "none", stroke: "var(--nc-line)", "stroke-width": 0.01}, cloud);
    const line = data.lines[at];
    if (line) {
      const length = Math.hypot(...line), [p, q] = line.map(one => one / length);
      draw("path", {d: `M${-3 * q} ${-3 * p}L${3 * q} ${3 * p}`, stroke: "var(--nc-ink)", "stroke-width": 0.015}, cloud);
    }
    draw("path", {d: "M-.05 0H.05M0-.05V.05", stroke: "var(--nc-ink)", "stroke-width": 0.02}, cloud);
    if (data.shown[at])
      rows(array.values.slice(at * size, (at + 1) * size), 2).forEach(([x, y], k) =>
        draw("path", {d: shape(data.classes[k]), fill: colour(data.classes[k]), opacity: 0.9,
          transform: `translate(${x} ${-y}) scale(${data.classes[k] ? 0.028 : 0.05})`}, cloud));
    for (const k of data.marked[at]) {
      const [x, y] = [0, 1].map(a => array.values[at * size + 2 * k + a]);
      draw("circle", {cx: x, cy: -y, r: 0.07, fill: "none", stroke: "var(--nc-ink)", "stroke-width": 0.015}, cloud);
    }
    title.textContent = `${data.axes[0]} ${data.columns[j]}, ${data.axes[1]} ${data.rows[i]}`;
    cloud.setAttribute("aria-label", data.says[at]);
    says.textContent = data.says[at];
    root.cell = cell;
  }
  map.addEventListener("click", event => {
    if (!event.target.dataset?.cell) return;
    cell = event.target.dataset.cell.split(",").map(Number);
    show();
  });
  map.addEventListener("keydown", event => {
    const by = {ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
    if (!by) return;
    cell = [Math.min(high - 1, Math.max(0, cell[0] + by[0])), Math.min(wide - 1, Math.max(0, cell[1] + by[1]))];
    show();
    event.preventDefault();
  });
  show();
}

define("phase", start);
