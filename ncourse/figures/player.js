// Panels over frames, moved by one slider. The data are those of `ncourse.figures.player.Player`.
import { between, colour, cut, define, draw, element, angle, seen, shape, still, unpack } from "./live.js";

const W = 300; // of a panel's drawing, in its own units

// Each panel is a function of (parent, spec, player); it returns show(t), t a place between frames.
const PANELS = {cloud, curves, bars, matrix};

function cloud(parent, spec, player) {
  const numbers = spec.angles ? element("div", {class: "nc-numbers"}, parent) : null;
  const arrays = {};
  for (const name of ["points", "sizes", "arrows", "corners", "rings", "decides", "line", "images"])
    if (spec[name] !== undefined) arrays[name] = unpack(spec[name]);
  const space = !arrays.points; // arrows alone, in a sphere
  const limit = space ? [1.3, 1.3] : spec.limit;
  const bottom = spec.axes[0] ? 22 : 0, left = spec.axes[1] ? 20 : 0;
  const width = W - left, height = spec.equal ? width * limit[1] / limit[0] : 220;
  const picture = draw("svg", {viewBox: `0 0 ${W} ${height + bottom}`, role: "img"}, parent);
  const view = [...spec.view];
  const place = point => {
    const [x, y] = space ? seen(point, view) : point;
    return [left + width * (x / limit[0] + 1) / 2, height * (1 - y / limit[1]) / 2];
  };
  const path = (points, closed) =>
    points.map((p, i) => `${i ? "L" : "M"}${place(p).map(v => v.toFixed(2))}`).join("") + (closed ? "Z" : "");
  const layer = () => draw("g", {}, picture);
  const ground = layer(), lines = layer(), marks = layer(), over = layer(), words = layer();
  if (spec.axes[0] || spec.axes[1]) {
    draw("rect", {x: left, y: 0, width, height, fill: "none", stroke: "var(--nc-line)"}, picture);
    draw("text", {x: left + width / 2, y: height + 16, "text-anchor": "middle"}, picture, spec.axes[0]);
    draw("text", {transform: `translate(12 ${height / 2}) rotate(-90)`, "text-anchor": "middle"}, picture, spec.axes[1]);
  }
  const regions = arrays.decides
    ? Array.from({length: arrays.decides.shape[1]}, (_, k) => draw("path", {fill: colour(k), opacity: 0.16}, ground)) : [];
  const globe = space ? [0, 1, 2].map(() => draw("path", {fill: "none", stroke: "var(--nc-line)", "stroke-width": 0.8}, ground)) : [];
  if (space) draw("circle", {cx: W / 2, cy: height / 2, r: width / 2.6, fill: "none", stroke: "var(--nc-line)"}, ground);
  const ring = draw("path", {fill: "none", stroke: "var(--nc-soft)", "stroke-dasharray": "2 3"}, lines);
  const line = draw("path", {fill: "none", stroke: "var(--nc-ink)", "stroke-width": 1.5}, lines);
  const hollow = spec.hollow || [];
  // Outlines first: what was trained on lies on top.
  const order = spec.classes.map((_, i) => i).sort((a, b) => (hollow[b] || 0) - (hollow[a] || 0));
  const dots = [];
  for (const i of order) {
    const k = spec.classes[i];
    dots[i] = draw("path", {d: shape(k), ...(hollow[i]
      ? {fill: "none", stroke: colour(k), "stroke-width": 0.3, opacity: 0.5}
      : {fill: colour(k), opacity: k < 0 ? 0.6 : 0.9})}, marks);
  }
  const count = arrays.arrows ? arrays.arrows.shape[1] : 0;
  const shafts = [], tips = [], names = [];
  for (let k = 0; k < count; k++) {
    shafts.push(draw("path", {stroke: colour(k), "stroke-width": 2.5, fill: "none"}, over));
    tips.push(draw("path", space ? {d: shape(k), fill: colour(k)} : {d: "M0 0L-9 4V-4Z", fill: colour(k)}, over));
  }
  const circles = arrays.rings
    ? Array.from({length: arrays.rings.shape[1]}, () => draw("circle", {r: 7, fill: "none", stroke: "var(--nc-ink)", "stroke-width": 1.5}, over)) : [];
  const halo = {"text-anchor": "middle", "dominant-baseline": "central", "font-weight": 700, "paint-order": "stroke",
    stroke: "var(--nc-page)", "stroke-width": 3};
  const named = space ? Array.from({length: count}, (_, k) => String(k + 1))
    : arrays.corners || arrays.arrows ? spec.names : []; // else they only name points that are pointed at
  for (const name of named) names.push(draw("text", halo, words, name));
  const glass = spec.inset === null ? null : magnifier(picture, spec, height);
  const spot = draw("circle", {r: 8, fill: "none", stroke: "var(--nc-ink)", "stroke-width": 1.5, class: "nc-hidden"}, over);
  let placed = [];

  function show(t) {
    const points = arrays.points ? between(arrays.points, t) : [];
    const sizes = arrays.sizes ? between({shape: [...arrays.sizes.shape, 1], values: arrays.sizes.values}, t) : null;
    placed = points.map(place);
    placed.forEach(([x, y], i) => {
      const size = (hollow[i] ? 2.6 : spec.classes[i] < 0 ? 2 : 3.4) * (sizes ? sizes[i][0] : 1);
      dots[i].setAttribute("transform", `translate(${x.toFixed(2)} ${y.toFixed(2)}) scale(${size.toFixed(2)})`);
    });
    const arrows = arrays.arrows ? between(arrays.arrows, t) : [];
    arrows.forEach((tip, k) => {
      const [x, y] = place(tip), zero = place(tip.map(() => 0));
      shafts[k].setAttribute("d", path([tip.map(() => 0), tip], false));
      const turn = Math.atan2(y - zero[1], x - zero[0]) * 180 / Math.PI;
      const long = Math.hypot(x - zero[0], y - zero[1]) > 6;
      tips[k].setAttribute("transform", space ? `translate(${x} ${y}) scale(6)` : `translate(${x} ${y}) rotate(${turn})`);
      tips[k].setAttribute("opacity", long || space ? 1 : 0); // a head longer than its arrow
    });
    const corners = arrays.corners ? between(arrays.corners, t) : [];
    if (space) {
      ring.setAttribute("d", arrows.flatMap((a, i) => arrows.slice(0, i).map(b => path([a, b], false))).join(""));
      globe.forEach((one, axis) => one.setAttribute("d", path(Array.from({length: 73}, (_, i) => {
        const [c, s] = [Math.cos(i * Math.PI / 36), Math.sin(i * Math.PI / 36)];
        return [[c, s, 0], [c, 0, s], [0, c, s]][axis];
      }), true)));
    } else if (corners.length) ring.setAttribute("d", path(corners, true));
    const anchors = corners.length ? corners : arrows;
    names.forEach((name, k) => {
      const at = anchors[k], length = Math.hypot(...at) || 1;
      const [x, y] = place(at.map(v => v * (1 + (space ? 0.17 : 0.22) * (space ? 1 : limit[0]) / length)));
      name.setAttribute("x", x);
      name.setAttribute("y", y);
    });
    if (circles.length) between(arrays.rings, t).forEach((p, k) => {
      const [x, y] = place(p);
      circles[k].setAttribute("cx", x);
      circles[k].setAttribute("cy", y);
    });
    if (regions.length) {
      const deciders = between(arrays.decides, t), [a, b] = limit;
      regions.forEach((region, k) => {
        let part = [[-a, -b], [a, -b], [a, b], [-a, b]];
        deciders.forEach((other, j) => {
          const own = deciders[k];
          if (j !== k) part = cut(part, [own[0] - other[0], own[1] - other[1]], own[2] - other[2]);
        });
        region.setAttribute("d", part.length ? path(part, true) : "");
      });
    }
    if (arrays.line) {
      const [[p, q, c]] = between({shape: [arrays.line.shape[0], 1, 3], values: arrays.line.values}, Math.round(t));
      const length = Math.hypot(p, q);
      if (length < 1e-3) line.setAttribute("d", "");
      else {
        const foot = [-c * p / length ** 2, -c * q / length ** 2], far = 3 * Math.max(...limit) / length;
        const ends = [1, -1].map(sign => [foot[0] - sign * far * q, foot[1] + sign * far * p]);
        const [e, f] = clip(ends, limit);
        line.setAttribute("d", e ? path([e, f], false) : "");
      }
    }
    if (numbers) {
      // Halfway between two frames angles would be those of no frame.
      const whole = between(arrays.arrows, Math.round(t));
      const all = whole.flatMap((a, i) => whole.slice(0, i).map((b, j) => [j + 1, i + 1, angle(a, b)]));
      const least = Math.min(...all.map(one => one[2]));
      numbers.textContent = all.map(([i, j, a]) => `${i}–\u2060${j}\u00a0${a.toFixed(1)}°`).join(", ") + `. Least: ${least.toFixed(1)}°`;
    }
    if (glass) glass(points);
    if (pointed >= 0) point(pointed);
  }

  // The image of a point: on hover, and by arrow keys when the panel has the focus.
  let pointed = -1;
  const tip = element("div", {class: "nc-tip nc-hidden", "aria-live": "polite"}, parent);
  function point(i) {
    pointed = i;
    for (const one of [tip, spot]) one.classList.toggle("nc-hidden", i < 0);
    if (i < 0) return;
    const [x, y] = placed[i], scale = picture.clientWidth / W;
    spot.setAttribute("cx", x);
    spot.setAttribute("cy", y);
    tip.replaceChildren();
    if (arrays.images) {
      const [, high, wide] = arrays.images.shape;
      const canvas = element("canvas", {width: wide, height: high}, tip);
      const context = canvas.getContext("2d"), pixels = context.createImageData(wide, high);
      for (let j = 0; j < high * wide; j++)
        pixels.data.set([0, 0, 0, 255 * arrays.images.values[i * high * wide + j]], 4 * j);
      canvas.style.background = "#fff";
      context.putImageData(pixels, 0, 0);
    }
    element("div", {}, tip, `${spec.names[spec.classes[i]] ?? `class ${spec.classes[i] + 1}`}${hollow[i] ? ", test" : ""}`);
    tip.style.left = `${Math.min(x * scale + 10, Math.max(picture.clientWidth - 80, 0))}px`;
    tip.style.top = `${picture.offsetTop + y * scale + 10}px`;
  }
  if (space) {
    turnable(picture, view, () => show(player.t));
    picture.setAttribute("aria-label", "sphere: drag, or use the arrow keys, to turn it");
  } else if (dots.length && (arrays.images || spec.hollow)) {
    picture.setAttribute("tabindex", "0");
    picture.setAttribute("aria-label", "cloud of points: arrow keys go from point to point");
    picture.addEventListener("pointermove", event => {
      const box = picture.getBoundingClientRect(), scale = W / box.width;
      const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
      let best = -1, least = 12;
      placed.forEach(([a, b], i) => {
        const far = Math.hypot(a - x, b - y);
        if (far < least) [best, least] = [i, far];
      });
      point(best);
    });
    picture.addEventListener("pointerleave", () => point(-1));
    picture.addEventListener("blur", () => point(-1));
    picture.addEventListener("keydown", event => {
      const by = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
      if (!by) return;
      point((pointed + by + dots.length) % dots.length);
      event.preventDefault();
    });
  } else if (spec.classes.length) picture.setAttribute("aria-hidden", "true");
  return show;
}

// The part of a segment inside the view, or nothing.
function clip([p, q], [a, b]) {
  let [from, to] = [0, 1];
  for (const [axis, limit] of [[0, a], [1, b]]) {
    const by = q[axis] - p[axis];
    if (!by) continue;
    const [s, t] = [(-limit - p[axis]) / by, (limit - p[axis]) / by].sort((x, y) => x - y);
    [from, to] = [Math.max(from, s), Math.min(to, t)];
  }
  return from < to ? [from, to].map(s => [p[0] + s * (q[0] - p[0]), p[1] + s * (q[1] - p[1])]) : [];
}

// One class once more, as large as a box allows, with a bar for the scale of the whole.
function magnifier(picture, spec, height) {
  const side = 78, x = W - side - 2, y = 2;
  const box = draw("g", {transform: `translate(${x} ${y})`}, picture);
  draw("rect", {width: side, height: side, fill: "var(--nc-page)", stroke: "var(--nc-soft)", rx: 3}, box);
  const mine = spec.classes.map((k, i) => i).filter(i => spec.classes[i] === spec.inset && !(spec.hollow || [])[i]);
  const dots = mine.map(() => draw("path", {d: shape(spec.inset), fill: colour(spec.inset), opacity: 0.8}, box));
  const bar = draw("path", {stroke: "var(--nc-ink)", "stroke-width": 1.5}, box);
  const word = draw("text", {y: side + 13, x: side, "text-anchor": "end", "font-size": 11.5}, box);
  return points => {
    const own = mine.map(i => points[i]);
    const mean = [0, 1].map(a => own.reduce((sum, p) => sum + p[a], 0) / own.length);
    const far = Math.max(...own.map(p => Math.hypot(p[0] - mean[0], p[1] - mean[1])), 1e-9);
    const scale = (side / 2 - 7) / far;
    own.forEach((p, j) => dots[j].setAttribute("transform",
      `translate(${side / 2 + scale * (p[0] - mean[0])} ${side / 2 - scale * (p[1] - mean[1])}) scale(2)`));
    const power = 10 ** Math.floor(Math.log10(0.5 * side / scale));
    const length = [5, 2, 1].find(step => step * power * scale <= 0.5 * side) * power;
    bar.setAttribute("d", `M5 ${side - 5}h${length * scale}`);
    word.textContent = `magnified; bar: ${Number(length.toPrecision(1))}`;
  };
}

// Dragging, or arrow keys, turn the sphere.
function turnable(picture, view, changed) {
  picture.setAttribute("tabindex", "0");
  picture.style.touchAction = "pan-y";
  picture.style.cursor = "grab";
  const turn = (right, up) => {
    view[0] -= right;
    view[1] = Math.max(-89, Math.min(89, view[1] + up));
    changed();
  };
  let last = null;
  picture.addEventListener("pointerdown", event => {
    last = [event.clientX, event.clientY];
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointermove", event => {
    if (!last) return;
    turn(0.6 * (event.clientX - last[0]), 0.6 * (event.clientY - last[1]));
    last = [event.clientX, event.clientY];
  });
  for (const end of ["pointerup", "pointercancel"]) picture.addEventListener(end, () => { last = null; });
  picture.addEventListener("keydown", event => {
    const by = {ArrowRight: [6, 0], ArrowLeft: [-6, 0], ArrowUp: [0, -6], ArrowDown: [0, 6]}[event.key];
    if (!by) return;
    turn(...by);
    event.preventDefault();
  });
}

function curves(parent, spec, player) {
  const left = 40, right = 8, top = 6, height = 190, width = W - left - right;
  const picture = draw("svg", {viewBox: `0 0 ${W} ${height + 42}`, "aria-hidden": "true"}, parent);
  const scale = (value, [low, high], log) => log
    ? Math.log(Math.max(value, low / 1e3) / low) / Math.log(high / low) : (value - low) / (high - low);
  const logs = {x: spec.log.includes("x"), y: spec.log.includes("y")};
  const px = value => left + width * scale(value, spec.xspan, logs.x);
  const py = value => top + height * (1 - Math.min(Math.max(scale(value, spec.span, logs.y), 0), 1));
  if (spec.terminal !== null)
    draw("rect", {x: px(spec.terminal), y: top, width: left + width - px(spec.terminal), height, fill: "var(--nc-tint)"}, picture);
  draw("path", {d: `M${left} ${top}V${top + height}H${left + width}`, fill: "none", stroke: "var(--nc-soft)"}, picture);
  for (const [value, word] of spec.xticks) {
    draw("path", {d: `M${px(value)} ${top + height}v4`, stroke: "var(--nc-soft)"}, picture);
    draw("text", {x: px(value), y: top + height + 17, "text-anchor": "middle"}, picture, word);
  }
  for (const [value, word] of spec.yticks) {
    draw("path", {d: `M${left} ${py(value)}h-4`, stroke: "var(--nc-soft)"}, picture);
    draw("text", {x: left - 7, y: py(value), "text-anchor": "end", "dominant-baseline": "central"}, picture, word);
  }
  draw("text", {x: left + width / 2, y: top + height + 34, "text-anchor": "middle"}, picture, spec.axis);
  const names = Object.keys(spec.lines);
  names.forEach((name, k) => draw("path", {
    d: spec.x.map((x, i) => `${i ? "L" : "M"}${px(x).toFixed(1)} ${py(spec.lines[name][i]).toFixed(1)}`).join(""),
    fill: "none", stroke: colour(k), "stroke-width": 1.6, "stroke-dasharray": spec.dashed.includes(name) ? "5 3" : "none",
  }, picture));
  if (names.length > 1) {
    const key = element("div", {class: "nc-numbers"}, parent);
    names.forEach((name, k) => {
      const mark = draw("svg", {viewBox: "-2 -2 4 4", style: "display:inline-block;width:12px;height:12px"}, key);
      draw("path", {d: shape(k), fill: colour(k)}, mark);
      element("span", {}, key, ` ${name}${spec.dashed.includes(name) ? " (dashed)" : ""}   `);
    });
  }
  const cursor = draw("path", {stroke: "var(--nc-soft)", "stroke-width": 1}, picture);
  const dots = names.map((_, k) => draw("path", {d: shape(k), fill: colour(k)}, picture));
  const along = t => {
    const i = Math.min(Math.floor(t), spec.at.length - 1), j = Math.min(i + 1, spec.at.length - 1);
    const [a, b] = [spec.at[i], spec.at[j]];
    return logs.x && a > 0 ? a * (b / a) ** (t - i) : a + (b - a) * (t - i);
  };
  const value = (k, t, x) => {
    if (spec.dots) {
      const i = Math.min(Math.floor(t), spec.dots.length - 1), j = Math.min(i + 1, spec.dots.length - 1);
      return spec.dots[i][k] + (t - i) * (spec.dots[j][k] - spec.dots[i][k]);
    }
    const line = spec.lines[names[k]];
    let i = spec.x.findIndex(one => one >= x * (1 - 1e-9));
    if (i <= 0) return line[i < 0 ? line.length - 1 : 0];
    const part = (x - spec.x[i - 1]) / (spec.x[i] - spec.x[i - 1]);
    return line[i - 1] + Math.min(part, 1) * (line[i] - line[i - 1]);
  };
  // A press on the curves takes the frames there: one cursor for all panels.
  picture.style.cursor = "pointer";
  picture.style.touchAction = "pan-y";
  const choose = event => {
    const box = picture.getBoundingClientRect(), x = (event.clientX - box.left) * W / box.width;
    player.go(player.nearest(i => Math.abs(px(spec.at[i]) - x)));
  };
  picture.addEventListener("pointerdown", choose);
  picture.addEventListener("pointermove", event => { if (event.buttons) choose(event); });
  return t => {
    const x = along(t);
    cursor.setAttribute("d", `M${px(x)} ${top}v${height}`);
    dots.forEach((one, k) => one.setAttribute("transform", `translate(${px(x)} ${py(value(k, t, x))}) scale(5)`));
  };
}

function bars(parent, spec) {
  const array = unpack(spec.values), count = array.shape[1];
  const wide = !spec.upright;
  const left = wide ? 62 : 6, height = wide ? 34 * count + 4 : 170;
  const picture = draw("svg", {viewBox: `0 0 ${W} ${height + (wide ? 0 : 40)}`, "aria-hidden": "true"}, parent);
  const width = W - left - (wide ? 44 : 6), each = width / count;
  const boxes = spec.names.map((name, k) => {
    if (wide)
      draw("text", {x: left - 6, y: 34 * k + 17, "text-anchor": "end", "dominant-baseline": "central"}, picture, name);
    else if (name)
      draw("text", {x: left + each * (k + 0.5), y: height + 17, "text-anchor": "middle"}, picture, name);
    return draw("rect", {fill: colour(0)}, picture);
  });
  const numbers = spec.names.map((_, k) => draw("text", {y: 34 * k + 17, "dominant-baseline": "central"}, picture));
  for (const [place, word] of spec.marks) {
    draw("path", {d: `M${left + place * width} 0v${height}`, stroke: "var(--nc-ink)", "stroke-dasharray": "4 3"}, picture);
    draw("text", {x: left + place * width + 5, y: 12}, picture, word);
  }
  if (!wide) {
    draw("path", {d: `M${left} ${height}h${width}`, stroke: "var(--nc-soft)"}, picture);
    draw("text", {x: left + width / 2, y: height + 35, "text-anchor": "middle"}, picture, spec.axis);
  }
  return t => between({shape: [...array.shape, 1], values: array.values}, t).forEach(([value], k) => {
    const part = Math.min(Math.max(value / spec.limit, 0), 1);
    const box = wide ? {x: left, y: 34 * k + 7, width: part * width, height: 20}
      : {x: left + each * (k + 0.04), y: height * (1 - part), width: 0.92 * each, height: height * part};
    for (const [name, number] of Object.entries(box)) boxes[k].setAttribute(name, number);
    if (!wide || spec.digits === null) return;
    numbers[k].setAttribute("x", left + part * width + 5);
    numbers[k].textContent = Math.max(value, 0).toFixed(spec.digits);
  });
}

function matrix(parent, spec) {
  const array = unpack(spec.values), [, high, wide] = array.shape;
  const left = Math.max(spec.axes[1] ? 20 : 0, 0) + (spec.names.length ? 30 : 0);
  const width = W - left - 4, height = Math.min(Math.max(width * high / wide, 150), 260), top = 2;
  const picture = draw("svg", {viewBox: `0 0 ${W} ${height + top + (spec.axes[0] ? 40 : spec.columns.length ? 22 : 4)}`, "aria-hidden": "true"}, parent);
  const image = draw("image", {x: left, y: top, width, height, preserveAspectRatio: "none", style: "image-rendering:pixelated"}, picture);
  draw("rect", {x: left, y: top, width, height, fill: "none", stroke: "var(--nc-line)"}, picture);
  spec.names.forEach((name, k) => draw("text", {x: left - 6, y: top + height * (k + 0.5) / spec.names.length,
    "text-anchor": "end", "dominant-baseline": "central"}, picture, name));
  spec.columns.forEach((name, k) => draw("text", {x: left + width * (k + 0.5) / spec.columns.length, y: top + height + 16,
    "text-anchor": "middle"}, picture, name));
  draw("text", {x: left + width / 2, y: top + height + 34, "text-anchor": "middle"}, picture, spec.axes[0]);
  draw("text", {transform: `translate(12 ${top + height / 2}) rotate(-90)`, "text-anchor": "middle"}, picture, spec.axes[1]);
  const ring = spec.spot ? draw("circle", {r: 8, fill: "none", stroke: "var(--nc-ink)", "stroke-width": 2.5}, picture) : null;
  const canvas = element("canvas", {width: wide, height: high}), context = canvas.getContext("2d");
  return t => {
    const style = getComputedStyle(parent);
    const [low, top_] = ["--nc-low", "--nc-high"].map(name => style.getPropertyValue(name).trim().split(/\s+/).map(Number));
    const pixels = context.createImageData(wide, high);
    between(array, t).flat().forEach((value, i) =>
      pixels.data.set([...(value < 0 ? low : top_), 255 * Math.min(Math.abs(value), 1)], 4 * i));
    context.putImageData(pixels, 0, 0);
    image.setAttribute("href", canvas.toDataURL());
    if (!ring) return;
    const i = Math.min(Math.floor(t), spec.spot.length - 1), j = Math.min(i + 1, spec.spot.length - 1);
    const [x, y] = [0, 1].map(a => spec.spot[i][a] + (t - i) * (spec.spot[j][a] - spec.spot[i][a]));
    ring.setAttribute("cx", left + width * (x + 0.5) / wide);
    ring.setAttribute("cy", top + height * (y + 0.5) / high);
  };
}

export function start(root, data) {
  const count = data.values.length;
  const groups = data.groups || Array(count).fill("");
  const player = {t: data.start, root, data};
  const bar = element("div", {class: "nc-bar"}, root);
  const button = (text, name, pressed) => element("button", {type: "button", title: name, "aria-label": name, ...pressed}, bar, text);
  const play = button("▶", "play");
  const back = button("‹", "one frame back"), on = button("›", "one frame on");
  const loop = button("↻", "play in a loop", {"aria-pressed": "false"});
  let menu = null;
  if (data.groups) {
    menu = element("select", {"aria-label": `which ${data.label}`}, bar);
    for (const name of new Set(groups)) element("option", {value: name}, menu, name);
  }
  const rail = element("span", {class: "nc-rail"}, bar);
  const label = element("label", {}, rail);
  element("span", {}, label, data.label);
  const slider = element("input", {type: "range", step: 1}, label);
  const output = element("output", {}, rail);
  // So wide that slider and panels stand on one screen.
  // A slide is wider than it is high.
  const across = root.closest(".reveal") && data.panels.length < 4 ? data.panels.length : data.columns;
  const down = Math.ceil(data.panels.length / across);
  const widest = down > 1 ? [0, 330, 560, 850][across] || 850 : [0, 430, 780, 930][across] || 930;
  const panels = element("div", {class: "nc-panels",
    style: `grid-template-columns: repeat(${across}, minmax(0, 1fr)); max-width: ${widest}px; --nc-shape: ${across / down}; --nc-type: ${across > 2 ? 16 : 12.5}px`}, root);
  const says = element("p", {class: "nc-says"}, root);
  for (const spec of data.panels) // images that several panels show are sent once
    if (typeof spec.images === "number") spec.images = data.panels[spec.images].images;
  const shows = data.panels.map(spec => {
    const panel = element("div", {class: "nc-panel"}, panels);
    const title = spec.title.some(Boolean) ? element("div", {class: "nc-title"}, panel) : null;
    const show = PANELS[spec.kind](panel, spec, player);
    return (t, frame) => {
      if (title) title.textContent = spec.title[frame];
      show(t);
    };
  });
  const ends = group => [groups.indexOf(group), groups.lastIndexOf(group)];

  // `frame` is what slider and sentence name while the panels are on their way to it.
  function show(t, frame = Math.round(t)) {
    player.t = t;
    const [first, last] = ends(groups[frame]);
    slider.min = first;
    slider.max = last;
    slider.value = frame;
    if (menu) menu.value = groups[frame];
    output.textContent = data.values[frame];
    slider.setAttribute("aria-valuetext", `${data.values[frame]}: ${data.says[frame]}`);
    says.textContent = data.says[frame];
    shows.forEach(one => one(t, frame));
  }

  // Motion: towards a frame in a quarter of a second, or on and on while it plays.
  let moving = 0, playing = false;
  function glide(to, seconds, done = () => {}) {
    cancelAnimationFrame(moving);
    const from = player.t, begun = performance.now();
    if (still()) {
      show(to);
      moving = setTimeout(done, seconds * 1000);
      return;
    }
    const step = now => {
      // The time of a frame of the screen may lie before the press that began the motion.
      const part = Math.min(1, Math.max(0, (now - begun) / (1000 * seconds)));
      show(part === 1 ? to : from + part * (to - from), to);
      if (part < 1) moving = requestAnimationFrame(step);
      else done();
    };
    moving = requestAnimationFrame(step);
  }
  function stop() {
    playing = false;
    cancelAnimationFrame(moving);
    clearTimeout(moving);
    play.textContent = "▶";
    play.setAttribute("aria-label", "play");
    play.title = "play";
  }
  player.go = frame => {
    stop();
    if (groups[Math.round(player.t)] !== groups[frame] || frame === player.t) show(frame);
    else {
      show(player.t, frame); // what a screen reader says must not wait for the motion
      glide(frame, 0.25);
    }
  };
  player.nearest = distance => {
    const [first, last] = ends(groups[Math.round(player.t)]);
    let best = first;
    for (let i = first; i <= last; i++) if (distance(i) < distance(best)) best = i;
    return best;
  };
  function advance() {
    if (!playing || !root.isConnected) return;
    const [first, last] = ends(groups[Math.round(player.t)]);
    const next = Math.floor(player.t) + 1;
    if (next <= last) glide(next, 0.7, advance);
    else if (loop.getAttribute("aria-pressed") === "true") {
      moving = setTimeout(() => { if (playing) { show(first); advance(); } }, 900);
    } else stop();
  }
  play.addEventListener("click", () => {
    if (playing) {
      stop();
      show(Math.round(player.t));
      return;
    }
    const [first, last] = ends(groups[Math.round(player.t)]);
    stop();
    playing = true;
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "pause");
    play.title = "pause";
    if (player.t >= last) show(first);
    advance();
  });
  const by = amount => () => {
    const frame = Math.round(player.t), [first, last] = ends(groups[frame]);
    player.go(Math.min(last, Math.max(first, frame + amount)));
  };
  back.addEventListener("click", by(-1));
  on.addEventListener("click", by(1));
  loop.addEventListener("click", () => loop.setAttribute("aria-pressed", loop.getAttribute("aria-pressed") !== "true"));
  slider.addEventListener("input", () => player.go(Number(slider.value)));
  if (menu) menu.addEventListener("change", () => player.go(groups.indexOf(menu.value)));
  // Matrices are painted, not styled: a change of theme paints them anew.
  const watch = new MutationObserver(() => show(player.t));
  for (const one of [document.documentElement, document.body])
    watch.observe(one, {attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light", "class", "theme"]});
  show(data.start);
  root.player = player; // for teachers and tests: player.go(frame), player.t
  return player;
}

define("player", start);
