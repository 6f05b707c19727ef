// The site's search, on top of Sphinx's: chapters before attributes, and an excerpt a result.
// `PASSAGES` (passages.js, made with the site) has each page's sections: [anchor, title, text].

"use strict";

const wordsOf = (text) => text.toLowerCase().split(/[^\p{Letter}\p{Number}_]+/u).filter(Boolean);
const ASKED = wordsOf(new URLSearchParams(location.search).get("q") ?? "");

/** How often the words that were asked for stand in a text; 0 if one of them does not. */
const countOf = (text) => {
  const lower = text.toLowerCase();
  const counts = ASKED.map((word) => lower.split(word).length - 1);
  return counts.includes(0) ? 0 : counts.reduce((sum, one) => sum + one, 0);
};

const KINDS = [ // the first that fits; a result of an earlier kind stands before all of a later one
  /^\d\d-/, /^(index|playground|glossary|notation|claims|your-model|after)/,
  /^(?!api|teaching|references|changelog|genindex)/, /^api/, /./,
];

const sectionsOf = (page) => globalThis.PASSAGES?.[page] ?? [];

/** How much a section is about what was asked: its title counts, lists of everything hardly do. */
function weigh([, title, text]) {
  const inTitle = ASKED.every((word) => title.toLowerCase().includes(word));
  const list = /^(claims|references|exercise|solutions?$)/i.test(title);
  return (list ? 0.1 : 1) * (countOf(`${title} ${text}`) + (inTitle ? 20 : 0));
}

// Sphinx's settings, with a score of its own for each result. Its own code reads this name.
var Scorer = {
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
  score: ([page, title, anchor, about]) => {
    const name = title.toLowerCase();
    const sections = anchor ? sectionsOf(page).filter(([id]) => `#${id}` === anchor) : sectionsOf(page);
    const defined = page === "glossary" && ASKED.length > 0 && sections.some((one) =>
      ` ${wordsOf(one[1]).join(" ")} `.includes(` ${ASKED.join(" ")} `));
    const titled = /^\d\d-/.test(page) && !anchor && countOf(name) > 0;
    const called = /function|class/.test(about ?? "") && !name.includes(".papers.") &&
      name.split(".").at(-1) === ASKED.join("");
    const kind = defined ? 0 : titled ? 1 : called ? 2 : 3 + KINDS.findIndex((one) => one.test(page));
    const found = sections.reduce((sum, one) => sum + weigh(one), 0);
    return -1e6 * kind + Math.min(found, 1e5);
  },
};

/** The section that a result is about, or the one of its page that is most about it. */
function sectionOf(page, anchor) {
  const sections = sectionsOf(page);
  if (anchor) return sections.find(([name]) => name === anchor);
  const weights = sections.map(weigh);
  const best = Math.max(...weights);
  return best > 0 ? sections[weights.indexOf(best)] : undefined;
}

/** About 200 characters around the words where they first stand together, or the first of them. */
function excerpt(text) {
  const places = [ASKED.join(" "), ...ASKED].map((words) => text.toLowerCase().indexOf(words));
  const at = places[0] >= 0 ? places[0] : Math.min(...places.filter((place) => place >= 0), text.length);
  const start = at < 80 || at === text.length ? 0 : text.indexOf(" ", at - 80) + 1;
  const end = start + 200 >= text.length ? text.length : text.lastIndexOf(" ", start + 200);
  const shown = (start ? "… " : "") + text.slice(start, end) + (end < text.length ? " …" : "");
  const made = document.createElement("p");
  made.className = "context";
  const escaped = ASKED.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const pieces = escaped.length ? shown.split(new RegExp(`(${escaped.join("|")})`, "i")) : [shown];
  pieces.forEach((piece, index) => {
    made.append(index % 2 ? Object.assign(document.createElement("mark"), { textContent: piece }) : piece);
  });
  return made;
}

/** Under a result: what stands there. A whole page's link goes on to the section it is found in. */
function explain(item) {
  const link = item.querySelector("a");
  if (!link || item.querySelector(".context")) return;
  const [file, anchor] = link.getAttribute("href").split("#");
  const section = sectionOf(file.replace(/\.html$/, ""), anchor);
  if (!section) return;
  const [name, title, text] = section;
  if (!anchor && name && title !== link.textContent) {
    link.href = `${file}#${name}`;
    link.append(` › ${title}`);
  }
  if (text) item.append(excerpt(text));
}

document.addEventListener("DOMContentLoaded", () => {
  const results = document.getElementById("search-results");
  if (!results) return;
  const all = () => results.querySelectorAll("li").forEach(explain);
  new MutationObserver(all).observe(results, { childList: true, subtree: true });
  all();
});
