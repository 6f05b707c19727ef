// Points on a sphere that can be dragged, repel each other, or stand as a simplex.
import { angle, colour, define, dot, draw, element, seen, shape, still } from "./live.js";

const SIDE = 300, RADIUS = 112;

const unit = v => v.map(one => one / Math.sqrt(dot(v, v)));

// One step of `ncourse.simplex.repel`: each point along the sum of all pushes, of strength 1/s.
export function repelled(points, step = 0.2) {
  return points.map((x, i) => {
    const moved = [...x];
    points.forEach((y, j) => {
      if (i === j) return;
      const by = x.map((v, a) => v - y[a]), s = Math.max(dot(by, by), 1e-9);
      by.forEach((v, a) => { moved[a] += step * v / s; });
    });
    return unit(moved);
  });
}

// Unit vectors at equal angles where the space has room for them: two, three or four.
export function simplex(count) {
  const corners = [[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]].map(unit);
  if (count > 3) return corners.slice(0, 4);
  const turns = Array.from({length: count}, (_, k) => 2 * Math.PI * k / count);
  return turns.map(a => [Math.cos(a), Math.sin(a), 0]);
}

export function start(root, data) {
  let points = data.points.map(unit), view = [30, 18], running = 0;
  const bar = element("div", {class: "nc-bar"}, root);
  const button = text => element("button", {type: "button"}, bar, text);
  const push = button("let them repel"), place = button("simplex"), scatter = button("scatter");
  const label = element("label", {}, bar, "points");
  const count = element("select", {}, label);
  for (let k = 2; k <= 7; k++) element("option", {value: k}, count, String(k));
  const panels = element("div", {class: "nc-panels", style: "max-width: 430px"}, root);
  const panel = element("div", {class: "nc-panel"}, panels);
  const picture = draw("svg", {viewBox: `0 0 ${SIDE} ${SIDE}`, tabindex: 0, "aria-label":
    "sphere: drag a point to move it, drag the sphere or use the arrow keys to turn it"}, panel);
  picture.style.touchAction = "pan-y";
  const says = element("p", {class: "nc-says", "aria-live": "polite"}, root);
  const numbers = element("p", {class: "nc-says nc-numbers"}, root);

  const at = v => {
    const [x, y] = seen(v, view);
    return [SIDE / 2 + RADIUS * x, SIDE / 2 - RADIUS * y];
  };
  const line = vs => vs.map((v, i) => `${i ? "L" : "M"}${at(v).map(one => one.toFixed(1))}`).join("");

  function show() {
    picture.replaceChildren();
    draw("circle", {cx: SIDE / 2, cy: SIDE / 2, r: RADIUS, fill: "none", stroke: "var(--nc-line)"}, picture);
    for (let axis = 0; axis < 3; axis++) {
      const ring = Array.from({length: 73}, (_, i) => {
        const [c, s] = [Math.cos(i * Math.PI / 36), Math.sin(i * Math.PI / 36)];
        return [[c, s, 0], [c, 0, s], [0, c, s]][axis];
      });
      draw("path", {d: line(ring), fill: "none", stroke: "var(--nc-line)", "stroke-width": 0.7}, picture);
    }
    points.forEach((a, i) => points.slice(0, i).forEach(b =>
      draw("path", {d: line([a, b]), stroke: "var(--nc-soft)", "stroke-dasharray": "2 3"}, picture)));
    points.forEach((v, k) => {
      const [x, y] = at(v);
      draw("path", {d: line([[0, 0, 0], v]), stroke: colour(k), "stroke-width": 2.5}, picture);
      draw("path", {d: shape(k), fill: colour(k), transform: `translate(${x} ${y}) scale(7)`, "data-point": k,
        style: "cursor: grab"}, picture);
      const [a, b] = at(v.map(one => 1.2 * one));
      draw("text", {x: a, y: b, "text-anchor": "middle", "dominant-baseline": "central", "font-weight": 700}, picture, String(k + 1));
    });
    const all = points.flatMap((a, i) => points.slice(0, i).map((b, j) => [j + 1, i + 1, angle(a, b)]));
    const least = Math.min(...all.map(one => one[2])), most = Math.max(...all.map(one => one[2]));
    const best = Math.acos(-1 / (points.length - 1)) * 180 / Math.PI;
    says.textContent = `Angles from ${least.toFixed(1)}° to ${most.toFixed(1)}°. No ${points.length} directions ` +
      `can all be more than ${best.toFixed(1)}° apart` + (points.length > 4 ? ", and in three dimensions not even that far." : ".");
    numbers.textContent = all.map(([i, j, a]) => `${i}–\u2060${j}\u00a0${a.toFixed(1)}°`).join(", ");
    place.disabled = points.length > 4;
  }

  function stop() {
    clearTimeout(running);
    running = 0;
    push.textContent = "let them repel";
  }
  push.addEventListener("click", () => {
    if (running) return stop();
    push.textContent = "stop";
    let left = 400;
    const step = () => {
      const before = points;
      points = repelled(points, 0.03);
      const moved = Math.max(...points.map((v, i) => Math.hypot(...v.map((one, a) => one - before[i][a]))));
      if (still() && --left > 0 && moved > 1e-6) return step();
      show();
      if (--left > 0 && moved > 1e-6) running = setTimeout(step, 20);
      else stop();
    };
    running = 1;
    step();
  });
  place.addEventListener("click", () => { stop(); points = simplex(points.length); show(); });
  const random = number => {
    stop();
    points = Array.from({length: number}, () => unit([0, 0, 0].map(() =>
      Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()))));
    show();
  };
  scatter.addEventListener("click", () => random(points.length));
  count.addEventListener("change", () => random(Number(count.value)));

  let held = null, last = null;
  picture.addEventListener("pointerdown", event => {
    held = event.target.dataset?.point === undefined ? null : Number(event.target.dataset.point);
    last = [event.clientX, event.clientY];
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointermove", event => {
    if (!last) return;
    const box = picture.getBoundingClientRect(), scale = SIDE / box.width;
    if (held === null) {
      turn(0.6 * (event.clientX - last[0]), 0.6 * (event.clientY - last[1]));
    } else {
      // The point of the sphere under the pointer, on the side on which the point is.
      const right = ((event.clientX - box.left) * scale - SIDE / 2) / RADIUS;
      const up = (SIDE / 2 - (event.clientY - box.top) * scale) / RADIUS;
      const side = Math.sign(seen(points[held], view)[2]) || 1;
      points = points.map((v, k) => k === held ? unseen(right, up, side, view) : v);
      show();
    }
    last = [event.clientX, event.clientY];
  });
  for (const end of ["pointerup", "pointercancel"]) picture.addEventListener(end, () => { held = last = null; });
  const turn = (right, up) => {
    view = [view[0] - right, Math.max(-89, Math.min(89, view[1] + up))];
    show();
  };
  picture.addEventListener("keydown", event => {
    const by = {ArrowRight: [6, 0], ArrowLeft: [-6, 0], ArrowUp: [0, -6], ArrowDown: [0, 6]}[event.key];
    if (!by) return;
    turn(...by);
    event.preventDefault();
  });
  count.value = points.length;
  show();
  root.model = {repelled, simplex, unseen, seen, points: () => points};
}

// The unit vector that `seen` shows at (right, up), in front (1) or behind (-1).
export function unseen(right, up, side, [turn, tilt]) {
  const r = Math.max(1, Math.hypot(right, up));
  const [p, q] = [right / r, up / r], eye = side * Math.sqrt(Math.max(0, 1 - p * p - q * q));
  const a = turn * Math.PI / 180, b = tilt * Math.PI / 180;
  const near = Math.cos(b) * eye - Math.sin(b) * q;
  return unit([
    -Math.sin(a) * p + Math.cos(a) * near, Math.cos(a) * p + Math.sin(a) * near,
    Math.cos(b) * q + Math.sin(b) * eye,
  ]);
}

define("simplex", start);
