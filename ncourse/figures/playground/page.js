// The page of the playground: two Workers train with `engine.js`, one of them without one condition;
// this file asks them for epochs, draws what they answer, and offers `window.playground`.

const PRESETS = {
  "weight-decay": {
    name: "Weight decay",
    says: "Both networks classify every training image. Only with weight decay do the features " +
      "draw together into three points.",
    settings: {},
    without: "weight_decay",
  },
  "random-labels": {
    name: "Random labels",
    says: "On the left the labels are shuffled, so there is nothing to learn. The training features " +
      "collapse all the same; the test error stays at chance.",
    settings: { label_noise: 1, samples: 60, depth: 3 },
    without: "label_noise",
  },
  "minority-collapse": {
    name: "Minority collapse",
    says: "On the left, classes 2 and 3 have two images each against 96. Their means draw " +
      "together, in most runs until they point nearly the same way, and their new images are confused.",
    settings: {
      classes: 4, features: 3, samples: 96, batch: 32, imbalance: 48,
      weight_decay: 0.02, learning_rate: 0.01, epochs: 150,
    },
    without: "imbalance",
  },
  "no-room": {
    name: "No room",
    says: "Four classes need three dimensions for a simplex. In a plane they draw together at " +
      "the corners of a square: the angles stay uneven.",
    settings: {
      classes: 4, features: 2, depth: 1, samples: 96, batch: 32, learning_rate: 0.02, epochs: 300,
    },
    without: "features",
  },
  loss: {
    name: "What the loss chooses",
    says: "Without a bias, squared error puts the three class means near right angles, seen from " +
      "the origin; cross-entropy opens them towards 120 degrees. Drag to turn.",
    settings: {
      features: 3, loss: "squared_error", bias: false, learning_rate: 0.01, weight_decay: 0.01,
    },
    without: "loss",
  },
  depth: {
    name: "Depth",
    says: "Three hidden layers against one, everything else alike: both reach zero training error, " +
      "and the deeper network collapses much further.",
    settings: { depth: 3 },
    without: "depth",
  },
  "fixed-simplex": {
    name: "Fixed simplex",
    says: "Rare classes again, but on the left the classifier is a simplex that is never trained: " +
      "the rare classes keep directions of their own.",
    settings: {
      classes: 4, features: 3, samples: 96, batch: 32, imbalance: 48,
      weight_decay: 0.02, learning_rate: 0.01, epochs: 150, fixed_simplex: true,
    },
    without: "fixed_simplex",
  },
};

const SHARE = (value) => (value === 0 ? "true labels" : value === 1 ? "random labels"
  : `${100 * value} % of the labels shuffled`);
const COUNT = (value, word) => `${value || "no"} ${word}${value === 1 ? "" : "s"}`;

// What can be taken from the control: the other value, and how a value is called.
const CONDITIONS = {
  weight_decay: {
    other: (s) => (s.weight_decay ? 0 : 0.005),
    call: (value) => (value ? `weight decay ${value}` : "no weight decay"),
  },
  label_noise: { other: (s) => (s.label_noise ? 0 : 1), call: SHARE },
  layer_norm: {
    other: (s) => (s.layer_norm === "none" ? "hidden" : "none"),
    call: (value) => ({ none: "no layer norm", hidden: "layer norm", end: "normalised features" })[value],
  },
  imbalance: {
    other: (s) => (s.imbalance > 1 ? 1 : 48),
    call: (value) => (value > 1 ? `rare classes, 1 to ${value}` : "equal classes"),
  },
  features: { other: (s) => (s.features === 2 ? 3 : 2), call: (value) => `${value} features` },
  depth: {
    other: (s) => (s.depth === 1 ? 3 : 1),
    call: (value) => COUNT(value, "hidden layer"),
  },
  loss: {
    other: (s) => (s.loss === "cross_entropy" ? "squared_error" : "cross_entropy"),
    call: (value) => value.replace("_", " "),
  },
  fixed_simplex: {
    other: (s) => !s.fixed_simplex,
    call: (value) => (value ? "fixed simplex" : "trained classifier"),
  },
};

const KNOBS = {
  data: ["Data", ["digits", "clouds", "spirals", "placed"], (v) => (v === "placed" ? "your points" : v)],
  classes: ["Classes", [2, 3, 4, 5]],
  samples: ["Samples of each class", [8, 20, 40, 60, 96, 144]],
  imbalance: ["Rare classes: 1 to", [1, 4, 12, 48]],
  label_noise: ["Labels", [0, 0.05, 0.1, 0.2, 0.5, 1], SHARE],
  depth: ["Hidden layers", [0, 1, 2, 3, 4, 6]],
  width: ["Width", [8, 16, 32, 64, 128]],
  features: ["Features", [2, 3]],
  layer_norm: ["Layer norm", ["none", "hidden", "end"], (v) => (v === "end" ? "of the features" : v)],
  loss: ["Loss", ["cross_entropy", "squared_error"], (v) => v.replace("_", " ")],
  weight_decay: ["Weight decay", [0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02]],
  learning_rate: ["Learning rate", [0.005, 0.01, 0.02, 0.05, 0.1]],
  momentum: ["Momentum", [0, 0.5, 0.9]],
  batch: ["Batch", [16, 32, 64, 128]],
  fixed_simplex: ["Classifier", [false, true], (v) => (v ? "fixed simplex" : "trained")],
  bias: ["Its bias", [true, false], (v) => (v ? "yes" : "no")],
  epochs: ["Pause after epoch", [50, 100, 150, 200, 300, 1000]],
};

// Name in `state()`, heading, what it says, axis.
const CHARTS = [
  ["nc1", "NC1", "spread within classes", "log"],
  ["nc2_equiangular", "NC2", "uneven angles", "log"],
  ["nc3", "NC3", "classifier off the means", "log"],
  ["nc4", "NC4", "not the nearest mean", "log"],
  ["train_error", "Training error", "", "share"],
  ["test_error", "Test error", "", "share"],
  ["weight_norm", "Norm of the weights", "", "linear"],
  ["smallest_angle", "Smallest angle", "between two means", "degrees"],
];
const SPEEDS = { slow: 5, normal: 25, full: Infinity }; // epochs a second

const percent = (value) => (Number.isNaN(value) ? "–" : `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`);
function brief(value, axis) {
  if (value === undefined || Number.isNaN(value)) return "–";
  if (value === Infinity) return "∞";
  if (axis === "share") return percent(value);
  if (axis === "degrees") return `${value.toFixed(0)}°`;
  if (value === 0) return "0";
  if (value >= 0.001) return value < 1000 ? value.toPrecision(2) : `${Math.round(value)}`;
  const [digits, exponent] = value.toExponential(1).split("e");
  return `${digits}·${power(exponent)}`;
}

/** Ten to a whole power, as "10⁻³". */
function power(exponent) {
  return `10${String(exponent).replace(/./g, (sign) => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign]))}`;
}

/** Put the playground into `root`. One on a page: it is `window.playground`. */
export function mountPlayground(root, { hero, settings: given }) {
  const text = (id) => document.getElementById(`nc-playground-${id}`).textContent;
  const file = (code) => URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const module = file(text("engine"));
  // On pages that are opened as files Chromium starts no Worker from a module.
  const worker = file(text("engine").replace(/^export /gm, ""));
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const make = (html) => {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return holder.content.firstElementChild;
  };
  root.innerHTML = "";
  root.append(...[
    `<div class="pg-presets" role="group" aria-label="Take a condition away">${
      Object.entries(PRESETS).map(([id, one]) =>
        `<button type="button" data-preset="${id}" aria-pressed="false">${one.name}</button>`).join("")}</div>`,
    `<p class="pg-says"></p>`,
    `<div class="pg-pair">${[0, 1].map((i) => `
      <figure class="pg-run pg-run-${i}">
        <figcaption>${i ? `<label><span class="pg-key"></span><span class="pg-hidden">The control has</span>
          <select class="pg-without"></select></label>` : `<span class="pg-key"></span><span class="pg-with"></span>`}
        </figcaption>
        <canvas tabindex="0" role="img" aria-label="Features"></canvas>
        <p class="pg-read"></p>
      </figure>`).join("")}
      <div class="pg-tip" hidden><canvas width="64" height="64"></canvas><span></span></div></div>`,
    `<div class="pg-bar">
      <button type="button" class="pg-play">Play</button>
      <button type="button" class="pg-step">Step</button>
      <button type="button" class="pg-reset">Reset</button>
      <label>Speed <select class="pg-speed"><option>slow</option><option selected>normal</option><option>full</option></select></label>
      <label>Seed <input class="pg-seed" type="number" min="0" max="999999" step="1"></label>
      <button type="button" class="pg-new">New seed</button>
      <output class="pg-epoch" aria-label="Epoch"></output></div>`,
    `<div class="pg-charts">${CHARTS.map(([name, title, about]) => `
      <div class="pg-chart" data-name="${name}"><div class="pg-name">${title}${about ? ` <small>${about}</small>` : ""}</div>
        <canvas aria-hidden="true"></canvas>
        <p><span class="pg-value-0"></span><span class="pg-value-1"></span></p></div>`).join("")}</div>`,
    `<p class="pg-legend"><span><svg width="26" height="8" aria-hidden="true"><path d="M0 4H26"/></svg> left</span>
      <span><svg width="26" height="8" aria-hidden="true"><path d="M0 4H26" stroke-dasharray="5 4"/></svg> right</span>
      <span><i class="pg-swatch"></i> both at zero training error</span>
      <span>Small marks: training samples. Rings: the classifier’s rows at the means’ size.</span></p>`,
    `<details class="pg-settings"${hero ? "" : " open"}><summary>All settings</summary>
      <div class="pg-knobs">${Object.entries(KNOBS).map(([name, [label]]) =>
        `<label>${label}<select data-knob="${name}"></select></label>`).join("")}</div>
      <div class="pg-place" hidden><canvas tabindex="0" role="img"
        aria-label="The inputs. Arrow keys move the cross, Enter places a point."></canvas>
        <div><p>The inputs, in the plane. Click to place a point, or move the cross with the arrow keys and press Enter.</p>
        <label>Class of the next point <select class="pg-class"></select></label>
        <button type="button" class="pg-clear">Start over</button></div></div>
      <p class="pg-note">NC1 is tr(Σ<sub>W</sub>Σ<sub>B</sub><sup>+</sup>), with the mean of the class means as the
        centre (the course’s default convention); NC2 is the mean of |cos + 1/(K−1)| over pairs of centred class means; NC3 the squared
        distance of classifier and means, each at norm 1; NC4 the share of samples whose class is not that of the nearest
        mean. All are those of <code>ncourse.metrics</code>. The smallest angle is seen from the origin.</p></details>`,
    `<p class="pg-live pg-hidden" aria-live="polite"></p>`,
  ].map(make));
  const find = (selector) => root.querySelector(selector);
  const all = (selector) => [...root.querySelectorAll(selector)];

  let engine, settings, without, preset, digits, moment = 0;
  let playing = false, speed = "normal", spoken = 0, finished = [];
  let yaw = 0.6, pitch = 0.35, chosen = null; // chosen: {run, sample}
  const runs = [0, 1].map(() => ({ worker: null, rows: [], now: null, then: null, at: 0, took: 1, data: null, asked: new Map() }));

  // --- asking the Workers -------------------------------------------------------------------------

  let count = 0;
  const ask = (run, question) => new Promise((resolve, reject) => {
    if (!run.worker) {
      run.worker = new Worker(worker);
      run.worker.onerror = (event) => {
        for (const waiting of run.asked.values()) waiting.reject(new Error(event.message));
        run.asked.clear();
      };
      run.worker.onmessage = ({ data }) => {
        const waiting = run.asked.get(data.id);
        run.asked.delete(data.id);
        if (data.error) waiting.reject(new Error(data.error));
        else waiting.resolve(data);
      };
    }
    count += 1;
    run.asked.set(count, { resolve, reject });
    run.worker.postMessage({ ...question, id: count });
  });

  async function reset(asked = {}) {
    const { preset: named = null, without: taken, ...rest } = asked;
    if (named !== null && !(named in PRESETS))
      throw new Error(`there is no preset ${named}; there are ${Object.keys(PRESETS).join(", ")}`);
    engine = engine || await import(module);
    const wanted = engine.settle({ ...(named ? PRESETS[named].settings : {}), ...rest });
    const condition = taken || (named ? PRESETS[named].without : "weight_decay");
    if (typeof condition === "string" && !(condition in CONDITIONS))
      throw new Error(`without is ${condition}; expected one of ${Object.keys(CONDITIONS).join(", ")}`);
    const change = typeof condition === "string"
      ? { [condition]: CONDITIONS[condition].other(wanted) } : condition;
    const control = engine.settle({ ...wanted, ...change });
    stop();
    moment += 1;
    const mine = moment;
    [settings, without, preset, chosen] = [wanted, change, named, null];
    const text64 = text("digits");
    const made = await Promise.all([wanted, control].map((one, i) =>
      ask(runs[i], { reset: one, digits: text64 })));
    digits = digits || await engine.unpackDigits(text64);
    if (mine !== moment) return state();
    made.forEach(({ rows, data }, i) =>
      Object.assign(runs[i], { settings: [wanted, control][i], rows, data, now: rows[0], then: rows[0], size: null }));
    fillIn();
    redraw();
    return state();
  }

  async function advance(epochs) {
    const mine = moment;
    const made = await Promise.all(runs.map((run) => ask(run, { advance: epochs })));
    if (mine !== moment) return;
    const time = performance.now();
    made.forEach(({ rows }, i) => {
      const run = runs[i];
      run.then = { ...run.now, ...drawn(run, time) };
      run.took = Math.min(400, Math.max(16, time - run.at));
      run.at = time;
      run.rows.push(...rows);
      run.now = rows.at(-1);
    });
    write();
    redraw();
  }

  function stop() {
    playing = false;
    find(".pg-play").textContent = "Play";
    finished.splice(0).forEach((resolve) => resolve(state()));
  }

  async function play(epochs) {
    if (!runs[0].now) await ready;
    if (playing) return new Promise((resolve) => finished.push(resolve));
    const start = runs[0].now.epoch, whole = settings.epochs;
    const end = epochs ? start + epochs : (Math.floor(start / whole) + 1) * whole;
    const mine = moment;
    playing = true;
    find(".pg-play").textContent = "Pause";
    const done = new Promise((resolve) => finished.push(resolve));
    (async () => {
      while (playing && mine === moment && runs[0].now.epoch < end) {
        const begun = performance.now();
        await advance(speed === "full" ? Math.min(5, end - runs[0].now.epoch) : 1);
        const rest = 1000 / SPEEDS[speed] - (performance.now() - begun);
        if (rest > 1) await new Promise((resolve) => setTimeout(resolve, rest));
        if (performance.now() - spoken > 5000) speak();
      }
      if (mine === moment) {
        speak();
        stop();
      }
    })().catch((error) => { stop(); complain(error); });
    return done;
  }

  async function pause() {
    stop();
    return state();
  }

  async function step() {
    stop();
    if (!runs[0].now) await ready;
    await advance(1);
    speak();
    return state();
  }

  function state() {
    const numbers = (row) => row && Object.fromEntries(
      Object.entries(row).filter(([, value]) => typeof value === "number"));
    return { settings, without, preset, playing, runs: runs.map((run) => numbers(run.now)) };
  }

  // --- words and knobs ----------------------------------------------------------------------------

  const condition = () => Object.keys(without)[0];
  const called = (i) => {
    const name = condition(), value = runs[i].settings[name];
    return CONDITIONS[name] ? CONDITIONS[name].call(value) : `${name}: ${value}`;
  };
  const options = (list, current, call) => list.map(([value, label]) =>
    `<option value="${value}"${String(value) === String(current) ? " selected" : ""}>${call ? call(value) : label}</option>`).join("");

  function fillIn() {
    all("[data-preset]").forEach((button) =>
      button.setAttribute("aria-pressed", String(button.dataset.preset === preset)));
    find(".pg-says").textContent = preset ? PRESETS[preset].says
      : `Left: ${called(0)}. Right: ${called(1)}. Everything else is the same, the seed included.`;
    find(".pg-with").textContent = called(0);
    find(".pg-without").innerHTML = options(
      Object.entries(CONDITIONS).map(([name, one]) => [name, one.call(one.other(settings))]), condition());
    find(".pg-seed").value = settings.seed;
    for (const [name, [, values, call]] of Object.entries(KNOBS)) {
      const list = values.includes(settings[name]) ? values : [...values, settings[name]];
      find(`[data-knob="${name}"]`).innerHTML = options(list.map((v) => [v, v]), settings[name], call);
    }
    find(".pg-class").innerHTML = options(
      [...Array(settings.classes).keys()].map((k) => [k, k]), find(".pg-class").value || 0);
    find(".pg-place").hidden = !runs[0].data.inputs;
    write();
  }

  function write() {
    find(".pg-epoch").textContent = `epoch ${runs[0].now.epoch}`;
    runs.forEach(({ now }, i) => {
      find(`.pg-run-${i} .pg-read`).innerHTML =
        `training error <b>${percent(now.train_error)}</b> · NC1 <b>${brief(now.nc1)}</b>`;
      find(`.pg-run-${i} canvas`).setAttribute("aria-label",
        `Features of the ${i ? "control" : "run"}, ${called(i)}, ${told(i)} Arrow keys go through the samples.`);
      for (const [name, , , axis] of CHARTS)
        find(`[data-name="${name}"] .pg-value-${i}`).textContent = brief(now[name], axis);
    });
  }

  const told = (i) => {
    const { now } = runs[i];
    return `training error ${percent(now.train_error)}, NC1 ${brief(now.nc1)}.`;
  };
  function speak() {
    spoken = performance.now();
    find(".pg-live").textContent =
      `Epoch ${runs[0].now.epoch}. ${called(0)}: ${told(0)} ${called(1)}: ${told(1)}`;
  }
  function complain(error) {
    find(".pg-says").textContent = `That cannot be: ${error.message}.`;
    find(".pg-live").textContent = error.message;
  }

  // --- the address --------------------------------------------------------------------------------

  const write64 = (points) => points.map(([x, y, k]) => `${x.toFixed(2)},${y.toFixed(2)},${k}`).join(";");
  function address() {
    const words = new URLSearchParams();
    const base = { ...engine.DEFAULTS, ...(preset ? PRESETS[preset].settings : {}) };
    if (preset) words.set("preset", preset);
    if (!preset || PRESETS[preset].without !== condition()) words.set("without", condition());
    for (const [name, value] of Object.entries(settings))
      if (name === "points" ? value.length : value !== base[name])
        words.set(name, name === "points" ? write64(value) : value);
    return `#${words}`;
  }
  function fromAddress() {
    if (!location.hash.includes("=")) return null;
    const asked = {};
    for (const [name, value] of new URLSearchParams(location.hash.slice(1)))
      asked[name] = name === "points" ? value.split(";").map((one) => one.split(",").map(Number))
        : ["preset", "without", "data", "loss", "layer_norm"].includes(name) ? value
        : value === "true" ? true : value === "false" ? false : Number(value);
    return asked;
  }

  /** What a reader asks for: start anew with it, put it into the address, and go. */
  async function change(asked) {
    try {
      await reset(asked);
      if (location.protocol !== "about:") history.replaceState(null, "", address());
      if (!still.matches) play();
    } catch (error) {
      complain(error);
      if (runs[0].now) fillKnobsBack();
    }
  }
  const fillKnobsBack = () => {
    const words = find(".pg-says").textContent;
    fillIn();
    find(".pg-says").textContent = words;
  };
  const current = () => ({ ...settings, without: condition(), preset });
  const knobbed = (name, value) => {
    // A knob turned leaves the preset's sentence behind: it speaks of the preset's settings alone.
    const { preset: _, ...rest } = current();
    const asked = { ...rest, [name]: value };
    if (name === "data" || name === "classes") {
      if (asked.data === "placed") asked.points = starters(asked.classes);
    }
    return asked;
  };
  const starters = (classes) => [...Array(4 * classes).keys()].map((i) => {
    const k = i % classes, angle = (2 * Math.PI * k) / classes + 0.5, around = i * 2.4;
    return [0.55 * Math.cos(angle) + 0.15 * Math.cos(around), 0.55 * Math.sin(angle) + 0.15 * Math.sin(around), k]
      .map((x, at) => (at < 2 ? Math.round(100 * x) / 100 : x));
  });

  root.addEventListener("click", ({ target }) => {
    const at = target.closest("button");
    if (!at) return;
    if (at.dataset.preset) change({ preset: at.dataset.preset, seed: settings ? settings.seed : 1 });
    else if (at.matches(".pg-play")) playing ? pause() : play();
    else if (at.matches(".pg-step")) step();
    else if (at.matches(".pg-reset")) reset(current());
    else if (at.matches(".pg-new")) change({ ...current(), seed: settings.seed + 1 });
    else if (at.matches(".pg-clear")) change({ ...current(), points: starters(settings.classes) });
  });
  root.addEventListener("change", ({ target }) => {
    if (target.matches(".pg-speed")) speed = target.value;
    else if (target.matches(".pg-seed")) change({ ...current(), seed: Math.round(+target.value) });
    else if (target.matches(".pg-without")) change({ ...settings, without: target.value });
    else if (target.dataset.knob) {
      const kind = typeof settings[target.dataset.knob];
      change(knobbed(target.dataset.knob,
        kind === "number" ? +target.value : kind === "boolean" ? target.value === "true" : target.value));
    }
  });

  // --- drawing ------------------------------------------------------------------------------------

  let colour = {}, frame = 0;
  const readColours = () => {
    const style = getComputedStyle(root);
    for (const name of ["ink", "muted", "line", "shade", "run", "control", "c0", "c1", "c2", "c3", "c4", "paper"])
      colour[name] = style.getPropertyValue(`--pg-${name}`).trim();
  };
  const redraw = () => { if (!frame) frame = requestAnimationFrame(draw); };

  /** A context in CSS pixels, on a clean canvas as sharp as the screen. */
  function pen(canvas) {
    const { clientWidth: width, clientHeight: height } = canvas, ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return { context, width, height };
  }

  /** Features and means between the last two measurements, so that clouds move and do not jump. */
  function drawn(run, time) {
    const { now, then, at, took } = run;
    const share = still.matches || speed === "full" ? 1 : Math.min(1, (time - at) / took);
    if (share === 1 || !then || !then.features) return now;
    const between = (a, b) => a.map((x, i) => x + share * (b[i] - x));
    return {
      features: between(then.features, now.features), testFeatures: now.testFeatures,
      means: between(then.means, now.means), weight: between(then.weight, now.weight),
    };
  }

  const SHAPES = [
    (c, x, y, r) => { c.moveTo(x + r, y); c.arc(x, y, r, 0, 7); },
    (c, x, y, r) => { c.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r); },
    (c, x, y, r) => { c.moveTo(x, y - 1.2 * r); c.lineTo(x + 1.1 * r, y + 0.8 * r); c.lineTo(x - 1.1 * r, y + 0.8 * r); c.closePath(); },
    (c, x, y, r) => { c.moveTo(x, y - 1.3 * r); c.lineTo(x + 1.1 * r, y); c.lineTo(x, y + 1.3 * r); c.lineTo(x - 1.1 * r, y); c.closePath(); },
    (c, x, y, r) => { c.moveTo(x, y + 1.2 * r); c.lineTo(x + 1.1 * r, y - 0.8 * r); c.lineTo(x - 1.1 * r, y - 0.8 * r); c.closePath(); },
  ];

  function cloud(run, i, time) {
    const { context: c, width, height } = pen(find(`.pg-run-${i} > canvas`));
    const { classes, features: dim } = run.settings, shown = drawn(run, time);
    const { features, means, weight } = shown;
    const centre = Array.from({ length: dim }, (_, a) => {
      let sum = 0;
      for (let k = 0; k < classes; k++) sum += means[k * dim + a];
      return sum / classes;
    });
    const centred = means.map((x, at) => x - centre[at % dim]);
    let reach = 1e-9, lengthM = 0, lengthW = 0;
    for (let k = 0; k < classes; k++) reach = Math.max(reach, Math.hypot(...centred.subarray(k * dim, k * dim + dim)));
    for (const x of centred) lengthM += x * x;
    for (const x of weight) lengthW += x * x;
    reach = Math.max(reach, 0.75 * Math.hypot(...centre));
    // The view follows the class means' size, slowly.
    run.size = run.size && !still.matches ? run.size * (reach / run.size) ** 0.12 : reach;
    const scale = (0.4 * Math.min(width, height)) / run.size;
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    const place = (array, at) => {
      let x = array[at] - centre[0], y = array[at + 1] - centre[1], z = 0;
      if (dim === 3) {
        const w = array[at + 2] - centre[2];
        [x, z] = [cy * x + sy * w, cy * w - sy * x];
        [y, z] = [cp * y - sp * z, sp * y + cp * z];
      }
      return [width / 2 + scale * x, height / 2 - scale * y, z];
    };
    const origin = place(new Float64Array(dim), 0);
    const corners = Array.from({ length: classes }, (_, k) => place(means, k * dim));
    // Edges between the means, arms from the origin.
    c.lineWidth = 1;
    c.strokeStyle = colour.line;
    c.beginPath();
    corners.forEach((a, k) => corners.slice(k + 1).forEach((b) => { c.moveTo(a[0], a[1]); c.lineTo(b[0], b[1]); }));
    c.stroke();
    c.strokeStyle = colour.muted;
    c.lineWidth = 1.5;
    c.beginPath();
    corners.forEach(([x, y]) => { c.moveTo(origin[0], origin[1]); c.lineTo(x, y); });
    c.stroke();
    run.places = [];
    const { labels } = run.data;
    for (let k = 0; k < classes; k++) {
      c.fillStyle = colour[`c${k}`];
      c.globalAlpha = 0.55;
      c.beginPath();
      for (let s = 0; s < labels.length; s++) {
        if (labels[s] !== k) continue;
        const [x, y] = place(features, s * dim);
        run.places[s] = [x, y];
        SHAPES[k](c, x, y, labels.length > 60 ? 2.6 : 4);
      }
      c.fill();
    }
    c.globalAlpha = 1;
    c.lineWidth = 1.5;
    c.font = "600 13px system-ui, sans-serif";
    c.textAlign = "center";
    c.textBaseline = "middle";
    corners.forEach(([x, y], k) => {
      c.beginPath();
      SHAPES[k](c, x, y, 5.5);
      c.fillStyle = colour[`c${k}`];
      c.strokeStyle = colour.paper;
      c.fill();
      c.stroke();
      const row = Float64Array.from({ length: dim }, (_, a) =>
        weight[k * dim + a] * Math.sqrt(lengthM / lengthW) + centre[a]);
      const [u, v] = place(row, 0);
      c.beginPath();
      c.arc(u, v, 8, 0, 7);
      c.strokeStyle = colour.ink;
      c.stroke();
      const length = Math.hypot(x - width / 2, y - height / 2) || 1;
      c.fillStyle = colour.ink;
      c.strokeStyle = colour.paper;
      c.lineWidth = 4;
      const tx = Math.min(width - 9, Math.max(9, x + (20 * (x - width / 2)) / length));
      const ty = Math.min(height - 9, Math.max(9, y + (20 * (y - height / 2)) / length));
      c.strokeText(k, tx, ty);
      c.fillText(k, tx, ty);
      c.lineWidth = 1.5;
    });
    c.beginPath();
    c.arc(origin[0], origin[1], 2.5, 0, 7);
    c.fill();
    if (chosen && chosen.run === i && run.places[chosen.sample]) {
      const [x, y] = run.places[chosen.sample];
      c.strokeStyle = colour.ink;
      c.beginPath();
      c.arc(x, y, 6, 0, 7);
      c.stroke();
    }
  }

  const terminal = (rows) => {
    let since = rows.length;
    while (since > 0 && rows[since - 1].train_error === 0) since -= 1;
    return since; // index of the first of the last rows at zero training error
  };

  function chart(name, axis) {
    const { context: c, width, height } = pen(find(`[data-name="${name}"] canvas`));
    const left = 34, right = 4, top = 5, bottom = 14;
    const last = runs[0].rows.length - 1, end = Math.max(settings.epochs, last);
    const values = runs.flatMap(({ rows }) => rows.map((row) => row[name])).filter(Number.isFinite);
    let low = 0, high = Math.max(...values, axis === "share" ? 0.1 : axis === "degrees" ? 120 : 1e-9);
    if (axis === "log") {
      const positive = values.filter((x) => x > 0);
      low = Math.max(1e-8, Math.min(...positive, 0.1));
      [low, high] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(Math.max(...positive, 1)) - 0.05)];
      high = Math.min(high, 2);
    } else if (axis === "degrees") high = Math.max(120, high > 120 ? 180 : 0);
    const X = (epoch) => left + ((width - left - right) * epoch) / end;
    const Y = (value) => {
      const at = axis === "log" ? Math.log10(Math.max(value, 1e-30)) : value;
      const share = Math.max(0, Math.min(1, (at - low) / (high - low)));
      return height - bottom - (height - top - bottom) * share;
    };
    const since = Math.max(...runs.map(({ rows }) => terminal(rows)));
    if (since <= last) {
      c.fillStyle = colour.shade;
      c.fillRect(X(since), top, X(last) - X(since), height - top - bottom);
    }
    c.font = "11px system-ui, sans-serif";
    c.fillStyle = colour.muted;
    c.strokeStyle = colour.line;
    c.lineWidth = 1;
    const ticks = axis === "log" ? [low, Math.round((low + high) / 2), high]
      : axis === "degrees" ? [0, 60, 120] : [0, high / 2, high];
    c.textAlign = "right";
    c.textBaseline = "middle";
    const label = (tick) => (axis === "log" ? (tick === 0 ? "1" : tick === 1 ? "10" : power(tick))
      : axis === "share" ? `${Math.round(100 * tick)} %` : tick === 0 ? "0" : tick.toPrecision(2));
    for (const tick of new Set(ticks)) {
      const y = Y(axis === "log" ? 10 ** tick : tick);
      c.beginPath();
      c.moveTo(left, y);
      c.lineTo(width - right, y);
      c.stroke();
      c.fillText(axis === "degrees" ? `${tick}°` : label(tick), left - 4, y);
    }
    c.textBaseline = "alphabetic";
    c.fillText(end, width - right, height - 2);
    c.textAlign = "left";
    c.fillText("0", left, height - 2);
    runs.forEach(({ rows }, i) => {
      c.strokeStyle = i ? colour.control : colour.run;
      c.lineWidth = i ? 1.75 : 2.25;
      c.setLineDash(i ? [5, 4] : []);
      c.beginPath();
      let on = false;
      rows.forEach((row, epoch) => {
        const value = row[name];
        if (!Number.isFinite(value)) { on = false; return; }
        c[on ? "lineTo" : "moveTo"](X(epoch), Y(value));
        on = true;
      });
      c.stroke();
    });
    c.setLineDash([]);
  }

  function inputs() {
    const { inputs: points, labels } = runs[0].data;
    if (!points || find(".pg-place").hidden) return;
    const { context: c, width, height } = pen(find(".pg-place canvas"));
    for (let k = 0; k < settings.classes; k++) {
      c.fillStyle = colour[`c${k}`];
      c.beginPath();
      labels.forEach((label, s) => {
        if (label === k)
          SHAPES[k](c, (width * (points[2 * s] + 1.1)) / 2.2, (height * (1.1 - points[2 * s + 1])) / 2.2, 3.5);
      });
      c.fill();
    }
    c.strokeStyle = colour.ink;
    const [x, y] = [(width * (cross[0] + 1.1)) / 2.2, (height * (1.1 - cross[1])) / 2.2];
    c.beginPath();
    c.moveTo(x - 6, y); c.lineTo(x + 6, y); c.moveTo(x, y - 6); c.lineTo(x, y + 6);
    c.stroke();
  }

  let drawnRows = -1, drawnWidth = 0;
  function draw(time) {
    frame = 0;
    if (!runs[0].now) return;
    if (!colour.ink) readColours();
    // At full speed all the time goes to training: a frame for each answer, none between.
    const smooth = !still.matches && speed !== "full";
    const turning = runs.some((run) => run.settings.features === 3) && playing && smooth && !dragging;
    if (turning) yaw += 0.006;
    runs.forEach((run, i) => cloud(run, i, time));
    if (drawnRows !== `${moment} ${runs[0].rows.length}` || drawnWidth !== root.clientWidth) {
      drawnRows = `${moment} ${runs[0].rows.length}`;
      drawnWidth = root.clientWidth;
      for (const [name, , , axis] of CHARTS) chart(name, axis);
      inputs();
    }
    if ((playing && smooth) || runs.some((run) => time - run.at < (smooth ? run.took : 0) + 500)) redraw();
  }
  const anew = () => { drawnRows = -1; colour = {}; redraw(); };
  new MutationObserver(anew).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", anew);
  new ResizeObserver(anew).observe(root);
  find(".pg-settings").addEventListener("toggle", anew);

  // --- pointing, turning, placing -----------------------------------------------------------------

  let dragging = null;
  function tell(run, sample) {
    chosen = { run, sample };
    const { data, places } = runs[run], tip = find(".pg-tip"), [x, y] = places[sample];
    const canvas = find(`.pg-run-${run} > canvas`), label = data.labels[sample], truth = data.truth[sample];
    const image = tip.firstElementChild, kind = data.images ? "digit" : "class";
    image.hidden = !data.images;
    if (data.images) {
      const paper = image.getContext("2d");
      paper.clearRect(0, 0, 64, 64);
      for (let p = 0; p < 64; p++) {
        paper.fillStyle = colour.ink;
        paper.globalAlpha = digits[data.images[sample] * 64 + p] / 8;
        paper.fillRect((p % 8) * 8, Math.floor(p / 8) * 8, 8, 8);
      }
    }
    const words = `${kind} ${truth}${label === truth ? "" : `, labelled ${label}`}`;
    tip.lastElementChild.textContent = words;
    tip.style.left = `${Math.min(canvas.offsetLeft + x + 12, root.clientWidth - 110)}px`;
    tip.style.top = `${canvas.offsetTop + y + 12}px`;
    tip.hidden = false;
    redraw();
    return words;
  }
  const hush = () => { if (chosen) { chosen = null; find(".pg-tip").hidden = true; redraw(); } };
  all(".pg-run > canvas").forEach((canvas, i) => {
    canvas.addEventListener("pointerdown", (event) => {
      if (runs[i].settings?.features !== 3) return;
      dragging = [event.clientX, event.clientY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", () => { dragging = null; });
    canvas.addEventListener("pointercancel", () => { dragging = null; });
    canvas.addEventListener("pointermove", (event) => {
      if (dragging) {
        yaw += (event.clientX - dragging[0]) / 120;
        pitch += (event.clientY - dragging[1]) / 120;
        dragging = [event.clientX, event.clientY];
        hush();
        redraw();
        return;
      }
      const { left, top } = canvas.getBoundingClientRect();
      let best = 12, found = -1;
      (runs[i].places || []).forEach(([x, y], s) => {
        const distance = Math.hypot(x - event.clientX + left, y - event.clientY + top);
        if (distance < best) [best, found] = [distance, s];
      });
      if (found < 0) hush();
      else tell(i, found);
    });
    canvas.addEventListener("pointerleave", hush);
    canvas.addEventListener("blur", hush);
    canvas.addEventListener("keydown", (event) => {
      const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!way || !runs[i].places) return;
      event.preventDefault();
      if (event.shiftKey) {
        if (event.key.endsWith("t")) yaw += 0.15 * way;
        else pitch += 0.15 * way;
        redraw();
        return;
      }
      const number = runs[i].places.length;
      const next = chosen && chosen.run === i ? (chosen.sample + way + number) % number : 0;
      find(".pg-live").textContent = tell(i, next);
    });
  });

  const cross = [0, 0];
  const plane = find(".pg-place canvas");
  const put = (x, y) => {
    const round = (value) => Math.round(100 * Math.max(-1, Math.min(1, value))) / 100;
    const points = settings.data === "placed" ? settings.points : starters(settings.classes);
    const { preset: _, ...rest } = current();
    change({ ...rest, data: "placed", points: [...points, [round(x), round(y), +find(".pg-class").value]] });
  };
  plane.addEventListener("click", (event) => {
    const box = plane.getBoundingClientRect();
    put((2.2 * (event.clientX - box.left)) / box.width - 1.1, 1.1 - (2.2 * (event.clientY - box.top)) / box.height);
  });
  plane.addEventListener("keydown", (event) => {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (way) cross.forEach((at, a) => { cross[a] = Math.max(-1, Math.min(1, at + 0.1 * way[a])); });
    else if (event.key === "Enter") put(...cross);
    else return;
    event.preventDefault();
    anew();
  });

  // --- the interface, and the start ---------------------------------------------------------------

  window.playground = {
    reset, play, pause, step, state,
    speed: (name) => { speed = find(".pg-speed").value = name; },
    presets: Object.fromEntries(Object.entries(PRESETS).map(([id, one]) => [id, one.says])),
    get defaults() { return engine && { ...engine.DEFAULTS }; },
  };
  const first = fromAddress() || (Object.keys(given).length ? given : { preset: "weight-decay" });
  const ready = reset(first).catch((error) => reset({ preset: "weight-decay" }).then(() => complain(error)));
  window.playground.ready = ready;
  addEventListener("hashchange", () => {
    const asked = fromAddress();
    if (asked) reset(asked).catch(complain);
  });
  // One call may bring several entries, the first of them from before the frame was laid out.
  const watch = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watch.disconnect();
    ready.then(() => { if (!still.matches && runs[0].now.epoch === 0 && moment === 1) play(); });
  }, { threshold: 0.4 });
  watch.observe(find(".pg-pair"));
}
