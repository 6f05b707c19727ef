// What a reader chooses on the site, kept on their machine and nowhere else: predictions, first
// answers to questions, and in the sidebar how much of a chapter's questions is answered.

"use strict";

(() => {
  const PREFIX = "ncourse:";
  const memory = new Map(); // where the browser keeps nothing
  const kept = (key) => {
    try { return localStorage.getItem(PREFIX + key); } catch { return memory.get(key) ?? null; }
  };
  const keep = (key, value) => {
    try { localStorage.setItem(PREFIX + key, value); } catch { memory.set(key, value); }
  };
  const forget = (key) => {
    try { localStorage.removeItem(PREFIX + key); } catch { memory.delete(key); }
  };
  const stem = (address) => address.split(/[?#]/)[0].split("/").pop().replace(/\.html$/, "");
  const page = stem(location.pathname);
  const make = (name, properties, ...inside) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...inside);
    return made;
  };

  // --- questions: options that stand together, one of which begins with "Correct" ------------------

  const right = (option) => option.querySelector("p")?.textContent.trim().startsWith("Correct") ?? false;

  function findQuestions() {
    const found = [], seen = new Set();
    for (const first of document.querySelectorAll(".bd-article details")) {
      if (seen.has(first)) continue;
      const options = [];
      for (let next = first; next?.tagName === "DETAILS"; next = next.nextElementSibling) {
        options.push(next);
        seen.add(next);
      }
      if (options.length < 2 || options.filter(right).length !== 1) continue;
      const name = (first.previousElementSibling?.textContent ?? "").trim();
      found.push({ options, key: `${page}:question:${name}`, score: null });
    }
    return found;
  }

  /** A tick or a cross on the option, in its colour and in words. */
  function mark(option) {
    if (option.querySelector("summary .nc-verdict")) return;
    const correct = right(option);
    option.classList.add(correct ? "nc-right" : "nc-wrong");
    option.querySelector("summary").prepend(
      make("span", { className: "nc-verdict" }, make("span", { ariaHidden: "true" }, correct ? "✓ " : "✗ "),
        make("span", { className: "nc-words" }, correct ? "right: " : "not this: ")));
  }

  function tally(questions) {
    const first = questions.map(({ key, options }) => {
      const chosen = kept(key);
      return chosen === null ? null : options.some((one) => right(one) && summary(one) === chosen);
    });
    return { of: first.length, answered: first.filter((one) => one !== null).length, right: first.filter(Boolean).length };
  }

  const summary = (option) => {
    const copy = option.querySelector("summary").cloneNode(true);
    copy.querySelector(".nc-verdict")?.remove();
    return copy.textContent.trim();
  };

  function mountQuestions(questions) {
    if (!questions.length) return;
    const groups = new Map(); // heading's section -> its questions, and where the score is said
    for (const question of questions) {
      const section = question.options[0].closest("section");
      if (!groups.has(section)) groups.set(section, { questions: [], line: make("p", { className: "nc-score", role: "status" }) });
      groups.get(section).questions.push(question);
    }
    const say = () => {
      for (const { questions: some, line } of groups.values()) {
        const { of, answered, right: good } = tally(some);
        line.textContent = !answered ? "" : of === 1
          ? (good ? "Right at the first try." : "Not at the first try.")
          : `${good} of ${answered} right at the first try; ${of} questions. `;
        if (answered && of > 1) line.append(make("button", {
          type: "button", textContent: "Forget my answers",
          onclick: () => { some.forEach(({ key }) => forget(key)); count(questions); location.reload(); },
        }));
      }
      count(questions);
    };
    for (const question of questions) {
      for (const option of question.options) {
        if (kept(question.key) === summary(option)) { mark(option); option.open = true; }
        // A click, or a key on it, answers; what opens otherwise (all folds at once) does not.
        option.querySelector("summary").addEventListener("click", () => {
          if (option.open || option.querySelector(".nc-verdict")) return;
          if (kept(question.key) === null) keep(question.key, summary(option));
          mark(option);
          say();
        });
      }
    }
    for (const { questions: some, line } of groups.values()) some.at(-1).options.at(-1).after(line);
    say();
  }

  // --- how far one is, beside each chapter in the sidebar ------------------------------------------

  function count(questions) {
    const { of, answered } = tally(questions);
    keep(`${page}:count`, `${answered} of ${of}`);
    showProgress();
  }

  function showProgress() {
    for (const link of document.querySelectorAll("nav.bd-links a.reference.internal")) {
      link.querySelector(".nc-progress")?.remove();
      const target = stem(link.getAttribute("href"));
      const done = kept(`${target === "" ? page : target}:count`);
      const [answered, of] = (done ?? "0 of 0").split(" of ");
      if (answered === "0") continue;
      const whole = answered === of;
      link.append(make("span", { className: "nc-progress", title: `${answered} of ${of} questions answered` },
        make("span", { ariaHidden: "true" }, whole ? " ✓" : ` ${answered}/${of}`),
        make("span", { className: "nc-words" }, `, ${answered} of ${of} questions answered`)));
    }
  }

  // --- a prediction, and where its answer stands ---------------------------------------------------

  function mountPrediction() {
    const list = document.querySelector("section#predict-first > ul");
    if (!list) return;
    const key = `${page}:prediction`;
    const answers = [...document.querySelectorAll(".nc-predicted")];
    const buttons = [...list.children].map((item) => {
      const button = make("button", { type: "button", className: "nc-guess" }, ...item.childNodes);
      item.append(button);
      button.onclick = () => { keep(key, button.textContent.trim()); show(); };
      return button;
    });
    list.classList.add("nc-guesses");
    list.setAttribute("aria-label", "Your prediction");
    const note = make("p", { className: "nc-score", role: "status" });
    list.after(note);
    const show = () => {
      const chosen = buttons.find((button) => button.textContent.trim() === kept(key));
      for (const button of buttons) button.ariaPressed = String(button === chosen);
      note.textContent = chosen ? "Kept on your machine. You will meet it again where the answer comes." : "";
      for (const place of answers) place.textContent = chosen ? `You predicted: “${chosen.textContent.trim()}”` : "";
    };
    show();
  }

  // --- the page of all claims: those with some words in them, or from one kind of source ------------

  function mountClaims() {
    const entries = [...document.querySelectorAll(".nc-claim-entry")];
    if (!entries.length) return;
    const words = make("input", { type: "search", placeholder: "e.g. minority" });
    const from = make("select", {}, ...[["", "all"], ["papers", "papers"], ["course", "this course"]].map(
      ([value, text]) => make("option", { value }, text)));
    const count = make("output", {});
    const sections = new Set(entries.map((entry) => entry.closest("section")));
    function show() {
      const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const entry of entries) {
        const text = entry.textContent.toLowerCase();
        entry.hidden = !(asked.every((word) => text.includes(word)) &&
          ["", entry.dataset.from].includes(from.value));
      }
      for (const section of sections)
        section.hidden = !section.querySelector(".nc-claim-entry:not([hidden])");
      const shown = entries.filter((entry) => !entry.hidden).length;
      count.textContent = shown === entries.length ? "" : `${shown} of ${entries.length}`;
    }
    const form = make("form", { className: "nc-filter", onsubmit: () => false },
      make("label", {}, "Claims with ", words), make("label", {}, " from ", from), " ", count);
    form.addEventListener("input", show);
    entries[0].closest("section").before(form);
  }

  // --- on paper everything is ink, whatever the screen is; and all folds can be opened ---------------

  function mountPrint() {
    const root = document.documentElement;
    let before = null;
    addEventListener("beforeprint", () => {
      before = root.dataset.theme;
      root.dataset.theme = "light";
    });
    addEventListener("afterprint", () => { root.dataset.theme = before; });

    const folds = [...document.querySelectorAll(".bd-article details")];
    const bar = document.querySelector(".article-header-buttons");
    if (!folds.length || !bar) return;
    const button = make("button", { type: "button", className: "btn btn-sm nc-unfold" });
    const label = (open) => { button.textContent = open ? "Fold all" : "Unfold all"; };
    button.addEventListener("click", () => {
      const open = button.textContent === "Unfold all";
      for (const fold of folds) fold.open = open;
      label(open);
    });
    label(false);
    bar.prepend(button);
  }

  // --- what is wider than the page scrolls, by the keyboard too, and shows that it goes on ---------

  const WIDE = ".bd-article table, .bd-article div.math, .bd-article .nc-long, .bd-article .highlight pre, .bd-article .output pre";

  function markCut() {
    for (const one of document.querySelectorAll(".bd-article span.math")) {
      one.classList.remove("nc-long", "nc-cut");
      const formula = one.querySelector("mjx-container"), block = one.closest("td, p, li, section");
      if (formula && block.tagName !== "TD" && formula.getBoundingClientRect().width > block.clientWidth)
        one.classList.add("nc-long");
    }
    for (const one of document.querySelectorAll(WIDE)) {
      const isCut = () => one.scrollWidth > one.clientWidth + 1;
      one.classList.remove("nc-tight");
      if (one.tagName === "TABLE" && isCut()) one.classList.add("nc-tight");
      if (one.matches(".output pre")) {
        // A table that was printed keeps its columns, smaller, where that is enough.
        const folds = () => one.scrollWidth > one.clientWidth;
        one.classList.add("nc-unfolded");
        if (folds()) one.classList.add("nc-tight");
        if (folds()) one.classList.remove("nc-tight");
        one.classList.remove("nc-unfolded");
      }
      const cut = isCut();
      one.classList.toggle("nc-cut", cut);
      if (cut) one.tabIndex = 0;
      else one.removeAttribute("tabindex");
    }
  }

  function watchCut() {
    const article = document.querySelector(".bd-article");
    if (!article) return; // the page of the search has none
    let width; // of the article: the side bars come and go after the window has its size
    new ResizeObserver(([{ contentRect }]) => {
      if (contentRect.width === width) return;
      width = contentRect.width;
      markCut();
    }).observe(article);
    let asked;
    const unfolded = () => { cancelAnimationFrame(asked); asked = requestAnimationFrame(markCut); };
    addEventListener("toggle", unfolded, true); // what unfolds has a width only then
    window.MathJax?.startup?.promise?.then(markCut);
  }

  const start = () => {
    mountPrediction();
    showProgress();
    mountQuestions(findQuestions());
    mountClaims();
    mountPrint();
    const meant = document.getElementById(location.hash.slice(1));
    if (meant?.tagName === "DETAILS") meant.open = true;
  };
  addEventListener("load", watchCut);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
