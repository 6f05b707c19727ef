// The unconstrained features model at its optimum, from its closed form, while its numbers move.
import { colour, define, draw, element } from "./live.js";

// The global minimum: of cross-entropy for equal classes, of squared error (no bias) for any.
// As `ncourse.ufm.optimum` and, for unequal classes, `ncourse.papers.hong2024.lower_bound`.
export function solution({loss, counts, lambdaW, lambdaH}) {
  const K = counts.length, N = counts.reduce((a, b) => a + b, 0);
  const penalty = Math.sqrt(lambdaW * lambdaH), scale = Math.sqrt(lambdaH / lambdaW);
  if (loss === "cross-entropy") {
    const n = counts[0], c = K * Math.sqrt(n) * penalty;
    const a = c >= 1 ? 0 : Math.log(K / c - K + 1);
    const length = Math.sqrt(n) * a * (1 - 1 / K); // of the k-th row of Z D^(1/2), in units of its norm
    return {
      shrinkage: counts.map(() => Math.min(c, 1)),
      logits: counts.map((_, i) => counts.map((_, j) => a * ((i === j) - 1 / K))),
      weight: counts.map(() => Math.sqrt(scale * length)),
      features: counts.map(() => Math.sqrt(length / scale / n)),
      loss: Math.log(1 + (K - 1) * Math.exp(-a)) + penalty * a * (K - 1) * Math.sqrt(n),
    };
  }
  const shrinkage = counts.map(n => Math.min(1, N * penalty / Math.sqrt(n)));
  const kept = counts.map((n, k) => Math.sqrt(n) * (1 - shrinkage[k]));
  return {
    shrinkage,
    logits: counts.map((_, i) => counts.map((_, j) => i === j ? 1 - shrinkage[i] : 0)),
    weight: kept.map(m => Math.sqrt(scale * m)),
    features: kept.map((m, k) => Math.sqrt(m / scale / counts[k])),
    loss: counts.reduce((sum, n, k) => sum + n * (shrinkage[k] - shrinkage[k] ** 2 / 2), 0) / N,
  };
}

const SLIDERS = [ // name, label, least, greatest, step, first, value as a number, as words
  ["lambda", "λ", -4, 0, 0.05, -2.3, v => 10 ** v, v => (10 ** v).toPrecision(2)],
  ["K", "classes K", 2, 8, 1, 4, v => v, v => String(v)],
  ["n", "samples n", 1, 50, 1, 8, v => v, v => String(v)],
  ["ratio", "large over small", 0, 3, 0.05, 0, v => Math.round(10 ** v), v => `${Math.round(10 ** v)} to 1`],
];

export function start(root) {
  const bar = element("div", {class: "nc-bar"}, root);
  const menu = element("select", {"aria-label": "loss"}, bar);
  for (const name of ["cross-entropy", "squared error"]) element("option", {value: name}, menu, name);
  const inputs = {}, outputs = {};
  for (const [name, words, min, max, step, value] of SLIDERS) {
    const label = element("label", {}, bar, words);
    inputs[name] = element("input", {type: "range", min, max, step, value, style: "width: 8em"}, label);
    outputs[name] = element("output", {}, label);
  }
  const panels = element("div", {class: "nc-panels",
    style: "grid-template-columns: repeat(2, minmax(0, 1fr)); max-width: 780px; --nc-shape: 2"}, root);
  const [left, right] = [0, 1].map(() => element("div", {class: "nc-panel"}, panels));
  element("div", {class: "nc-title"}, left, "logits of the class means");
  element("div", {class: "nc-title"}, right, "length of each class's row of W");
  const grid = draw("svg", {viewBox: "0 0 300 270", "aria-hidden": "true"}, left);
  const bars = draw("svg", {viewBox: "0 0 300 270", "aria-hidden": "true"}, right);
  const says = element("p", {class: "nc-says", "aria-live": "polite"}, root);

  function show() {
    const given = {};
    for (const [name, , , , , , number, words] of SLIDERS) {
      const value = Number(inputs[name].value);
      given[name] = number(value);
      outputs[name].textContent = words(value);
      inputs[name].setAttribute("aria-valuetext", words(value));
    }
    const squared = menu.value === "squared error";
    inputs.ratio.disabled = !squared;
    if (!squared) outputs.ratio.textContent = "1 to 1";
    const many = squared ? given.ratio : 1;
    const counts = Array.from({length: given.K}, (_, k) => k < Math.ceil(given.K / 2) ? given.n * many : given.n);
    const made = solution({loss: menu.value, counts, lambdaW: given.lambda, lambdaH: given.lambda});
    grid.replaceChildren();
    bars.replaceChildren();
    const most = Math.max(1e-9, ...made.logits.flat().map(Math.abs)), side = 264 / given.K;
    made.logits.forEach((row, i) => row.forEach((value, j) => {
      const box = {x: 18 + j * side, y: 2 + i * side};
      draw("rect", {...box, width: side, height: side, stroke: "var(--nc-line)",
        fill: `rgb(var(--nc-${value < 0 ? "low" : "high"}) / ${0.55 * Math.abs(value) / most})`}, grid);
      draw("text", {x: box.x + side / 2, y: box.y + side / 2, "text-anchor": "middle", "dominant-baseline": "central",
        style: `font-size: ${Math.min(13, side / 2.7)}px`}, grid, (value === 0 ? 0 : value).toFixed(side > 40 ? 2 : 1).replace("-", "−"));
      if (j === 0) draw("text", {x: 8, y: box.y + side / 2, "text-anchor": "middle", "dominant-baseline": "central"}, grid, String(i + 1));
    }));
    const longest = Math.max(1, ...made.weight), height = 250 / given.K;
    made.weight.forEach((value, k) => {
      draw("text", {x: 8, y: (k + 0.5) * height, "text-anchor": "middle", "dominant-baseline": "central"}, bars, String(k + 1));
      draw("rect", {x: 18, y: (k + 0.15) * height, height: 0.7 * height, width: 170 * value / longest, fill: colour(k)}, bars);
      draw("text", {x: 24 + 170 * value / longest, y: (k + 0.5) * height, "dominant-baseline": "central"}, bars,
        `${value.toFixed(2)} (n = ${counts[k]})`);
    });
    const gone = made.weight.filter(value => value === 0).length;
    const cosine = squared ? "Directions stand at right angles" : `Cosine of two classes −1/${given.K - 1}`;
    says.textContent = (gone === given.K ? "Nothing is left: every row is zero."
      : gone ? `Minority collapse: ${gone} small classes have no direction left; their rows are zero.`
      : `All ${given.K} classes have a direction. ${cosine}.`) + ` Loss ${made.loss.toFixed(4)}.`;
    root.made = made;
  }
  bar.addEventListener("input", show);
  root.model = {solution};
  show();
}

define("ufm", start);
