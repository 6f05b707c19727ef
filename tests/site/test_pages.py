"""The built site in a real browser: `ncourse build` first; Chromium has to be there."""

import functools
import html
import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from chromium import cannot, chromium
from playwright.sync_api import Browser, Page, Request

from ncourse.course.handout import handout
from ncourse.course.manifest import load

pytestmark = pytest.mark.browser

REPOSITORY = Path(__file__).parents[2]
SITE = REPOSITORY / "_build" / "html"
PAGES = sorted(path.name for path in SITE.glob("*.html")) or ["index.html"]
DECKS = sorted(path.name for path in SITE.glob("slides/[0-9]*.html")) or ["00-start-here.html"]
BEAMER = {"width": 1280, "height": 720}
PHONE = {"width": 375, "height": 800}
DESKTOP = {"width": 1280, "height": 900}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing: a missing file shows as an error in the browser's console."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a local server of the site."""
    if not (SITE / "index.html").is_file():
        cannot("the site is not built (run `ncourse build`)")
    handler = functools.partial(_Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    with chromium() as running:
        yield running


@dataclass
class Visit:
    """A page that is open in the browser, with all that went wrong in it so far."""

    page: Page
    faults: list[str] = field(default_factory=list)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """An empty page that can reach this machine and its files, and nothing else."""
    page = browser.new_page(viewport=DESKTOP)  # type: ignore[arg-type]
    it = Visit(page)
    page.on(
        "console",
        lambda message: (
            it.faults.append(f"console: {message.text}")
            if message.type in ("error", "warning")
            else None
        ),
    )
    page.on("pageerror", lambda error: it.faults.append(f"page error: {error}"))

    def failed(request: Request) -> None:
        # A page that is left or loaded again drops what it still waits for. That is no fault; what
        # is not there answers 404, and another machine's name is never resolved.
        if request.failure != "net::ERR_ABORTED":
            it.faults.append(f"failed, {request.failure}: {request.url}")

    page.on("requestfailed", failed)
    yield it
    page.close()


def _open(visit: Visit, address: str) -> Page:
    """Go to a page, wait for its formulas, and open all that is folded."""
    page = visit.page
    page.goto(address, wait_until="load")
    page.wait_for_function("!window.MathJax || (MathJax.startup && MathJax.startup.promise)")
    page.evaluate("window.MathJax && MathJax.startup.promise")
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    return page


def _open_with_raw_formulas(visit: Visit, address: str) -> Page:
    """Go to a page; its formulas, which take most of the time, stay as they are written."""
    page = visit.page
    page.route("**/mathjax/**", lambda route: route.fulfill(body=""))
    page.goto(address, wait_until="load")
    return page


TEXT_WITHOUT_CODE = """() => {
  const copy = document.querySelector('main').cloneNode(true);
  copy.querySelectorAll('pre, code, script, style, mjx-container').forEach(one => one.remove());
  return copy.textContent;
}"""


def _path(link: str) -> str:
    return unquote(urlsplit(link).path).lstrip("/")


@functools.cache
def _addresses(name: str) -> set[str]:
    """The places within a page that a link can lead to."""
    text = (SITE / name).read_text(encoding="utf-8")
    return {"", *(html.unescape(found) for found in re.findall(r'\sid="([^"]+)"', text))}


# Words whose contrast with what is painted behind them is below 4.5 (3 for large ones). Colours are
# read back from a canvas, so that any notation of CSS is understood; pictures are tested elsewhere.
PALE_WORDS = """() => {
  const context = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const seen = new Map();
  const rgba = colour => {
    if (!seen.has(colour)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
      seen.set(colour, [r, g, b, a / 255]);
    }
    return seen.get(colour);
  };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
  const behind = one => {
    const layers = [];
    for (let at = one; at; at = at.parentElement) {
      const paint = rgba(getComputedStyle(at).backgroundColor);
      if (paint[3] > 0) layers.push(paint);
      if (paint[3] === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const light = colour => {
    const [r, g, b] = colour.map(value => value / 255).map(
      value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const pale = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const one = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || one.closest('script, style, title, svg, noscript'))
      continue;
    if (!one.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})) continue;
    const style = getComputedStyle(one);
    const under = behind(one);
    const [a, b] = [light(over(rgba(style.color), under)), light(under)];
    const contrast = Math.max(a, b) / Math.min(a, b);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5))
      pale.add(`${contrast.toFixed(2)} <${one.tagName.toLowerCase()} class="${one.className}"> ` +
        walk.currentNode.textContent.trim().slice(0, 40));
  }
  return [...pale];
}"""


# Formulas within a line that go on beyond the text's edge, where nobody can bring them into view.
STICKING_OUT = """() => [...document.querySelectorAll('.bd-article span.math mjx-container')]
  .filter(one => one.checkVisibility() && !one.closest('td'))
  .filter(one => {
    const scrolls = getComputedStyle(one.closest('span.math')).overflowX === 'auto';
    const edge = one.closest('p, li, section').getBoundingClientRect().right;
    return !scrolls && one.getBoundingClientRect().right > edge + 2;
  }).map(one => one.textContent.slice(0, 60))"""


# Tables, formulas and code of which a part cannot be seen, and whether they say so.
CUT = """() => [...document.querySelectorAll(
    '.bd-article table, .bd-article div.math, .bd-article pre')]
  .filter(one => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1)
  .map(one => [one.tagName + ' ' + one.textContent.trim().slice(0, 60),
    one.classList.contains('nc-cut') && one.tabIndex === 0])"""


# What was printed in lines of at most 96 characters, and takes more lines than it has.
FOLDED = """() => [...document.querySelectorAll('.bd-article .output pre')]
  .filter(one => one.checkVisibility())
  .map(one => [one, one.textContent.replace(/\\n$/, '').split('\\n')])
  .filter(([, lines]) => Math.max(...lines.map(line => line.length)) <= 96)
  .filter(([one, lines]) => {
    const style = getComputedStyle(one);
    const padding = parseFloat(style.paddingTop) + parseFloat(style.paddingBottom);
    return one.clientHeight - padding > (lines.length + 0.6) * parseFloat(style.lineHeight);
  }).map(([one]) => one.textContent.slice(0, 60))"""


# What watches the size of the page has seen it.
NEXT_FRAME = "new Promise(seen => requestAnimationFrame(() => requestAnimationFrame(seen)))"


def test_a_window_that_grows_shows_its_tables_whole_again(visit: Visit, server: str) -> None:
    page = _open(visit, f"{server}/10-what-collapse-buys.html")
    for width in (700, 1280):  # below 992 the side bar is away; it comes back after the window
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(600)
    assert page.evaluate(CUT) == []


def test_printed_tables_that_fold_are_noticed(visit: Visit, server: str) -> None:
    page = _open(visit, f"{server}/09-progressive-collapse.html")
    page.evaluate(NEXT_FRAME)
    page.evaluate("""document.querySelectorAll('pre.nc-tight')
      .forEach(one => one.classList.remove('nc-tight'))""")
    assert any(line.startswith("mixture  ProNC") for line in page.evaluate(FOLDED))


def test_all_that_is_unfolded_at_once_is_measured_once(visit: Visit, server: str) -> None:
    page = visit.page
    page.goto(f"{server}/04-why-collapse.html", wait_until="load")
    page.wait_for_function("MathJax.startup && MathJax.startup.promise.then(() => true)")
    page.evaluate("""() => {
      window.measured = 0;
      const real = Element.prototype.getBoundingClientRect;
      Element.prototype.getBoundingClientRect = function () { window.measured++;
        return real.call(this); };
      document.querySelectorAll('details').forEach(one => { one.open = true });
    }""")
    page.evaluate(NEXT_FRAME)
    formulas = page.locator(".bd-article span.math").count()
    folds = page.locator(".bd-article details").count()
    assert folds > 20
    assert formulas / 2 < page.evaluate("window.measured") < 3 * formulas


def _in_both_schemes(page: Page) -> Iterator[str]:
    """Turn the page, which is open and follows the system, light and dark."""
    for scheme in ("light", "dark"):
        # At once: a colour on its way from one to the other is neither.
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
        yield scheme


@pytest.mark.parametrize("name", PAGES)
def test_page(visit: Visit, server: str, name: str) -> None:
    page = _open(visit, f"{server}/{name}")

    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.evaluate(NEXT_FRAME)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"], f"the page is {width} px wide on {size['width']} px"
        cut = page.evaluate(CUT)
        if size == DESKTOP:
            assert cut == [], "tables, formulas or code that are cut"
            assert page.evaluate(FOLDED) == [], "printed tables whose columns are lost"
        assert [text for text, shown in cut if not shown] == [], "cut, and nothing says so"
    assert page.evaluate(STICKING_OUT) == [], "formulas that are cut and do not scroll"

    assert page.locator("meta[name=description]").get_attribute("content")
    for image in page.locator("img").all():
        source = (image.get_attribute("src") or "")[:60]
        assert (image.get_attribute("alt") or "").strip(), f"no alt text: {source}"
        assert image.evaluate("one => one.hidden || one.naturalWidth > 0"), f"no image: {source}"

    formulas = page.locator("main .math").count()
    assert page.locator("mjx-container").count() >= formulas
    assert page.locator("mjx-merror").count() == 0
    raw = re.findall(
        r"\$\$|\\[(\[]|\\begin\{|\$[^$\s][^$\n]{0,80}\$", page.evaluate(TEXT_WITHOUT_CODE)
    )
    assert raw == [], "formulas that are not rendered"

    for scheme in _in_both_schemes(page):
        assert page.evaluate(PALE_WORDS) == [], scheme
    links = page.eval_on_selector_all("a[href]", "all => all.map(one => one.href)")
    inside = {link for link in links if link.startswith(server)}
    missing = [link for link in inside if not (SITE / _path(link)).exists()]
    assert missing == []
    # After the playground's address stand its settings, and no place on the page.
    places = {
        link
        for link in inside
        if "#" in link and _path(link).endswith(".html") and _path(link) != "playground.html"
    }
    lost = [link for link in places if urlsplit(link).fragment not in _addresses(_path(link))]
    assert lost == []

    assert visit.faults == []


@pytest.mark.parametrize("name", PAGES)
def test_page_opened_as_a_file(visit: Visit, name: str) -> None:
    _open(visit, (SITE / name).as_uri())
    assert visit.faults == []


def test_another_machine_is_not_reached_and_asking_is_a_fault(visit: Visit, server: str) -> None:
    page = _open(visit, f"{server}/index.html")
    for address in ("https://example.org/a.css", "http://93.184.215.14/b.png"):
        page.evaluate("address => fetch(address, {mode: 'no-cors'}).catch(() => 0)", address)
    failed = [fault for fault in visit.faults if fault.startswith("failed")]
    assert [fault.split(": ")[1] for fault in failed] == [
        "https://example.org/a.css",
        "http://93.184.215.14/b.png",
    ]


def test_pale_words_are_noticed(visit: Visit) -> None:
    visit.page.set_content(
        '<body style="background:#fff"><p style="color:#767676">enough</p>'
        '<p style="color:#777">too pale</p><p style="color:rgba(0,0,0,.4)">veiled</p>'
        '<div style="background:#000"><p style="color:#222">dark</p></div></body>'
    )
    pale = visit.page.evaluate(PALE_WORDS)
    assert [line.split("> ")[1] for line in pale] == ["too pale", "veiled", "dark"]


def test_a_claim_leads_to_its_cell(visit: Visit, server: str) -> None:
    page = visit.page
    page.goto(f"{server}/claims.html")
    cards = page.locator(".nc-claim-entry")
    links = page.locator(".nc-claim-entry > a")
    assert cards.count() == links.count() > 100
    for word in ("Measured", "Control", "Source", "Data"):
        assert page.locator(".nc-claim-entry b", has_text=word).count() >= cards.count()
    words = cards.nth(30).locator(".nc-claim summary").inner_text()
    fold = cards.nth(30).locator("details")
    assert fold.get_attribute("open") is None
    fold.locator("summary").click()
    assert fold.get_attribute("open") is not None
    links.nth(30).click()
    page.wait_for_url("**#claim-*")
    place = page.locator(f"#{urlsplit(page.url).fragment}")
    place.wait_for(state="visible", timeout=20_000)  # the chapter is large
    assert place.locator("summary").inner_text() == words
    assert place.get_attribute("open") is not None
    assert visit.faults == []


def test_paper_is_light_and_takes_no_answers(visit: Visit, server: str) -> None:
    visit.page.emulate_media(color_scheme="dark")
    page = _open(visit, f"{server}/02-four-definitions.html")
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "dark"
    page.evaluate(f"addEventListener('beforeprint', () => {{ window.printed = {theme}; }})")
    page.pdf()
    assert page.evaluate("window.printed") == "light"
    assert page.evaluate(theme) == "dark"
    page.get_by_role("button", name="Unfold all").click()
    folds = page.locator(".bd-article details")
    assert page.locator(".bd-article details[open]").count() == folds.count() > 30
    page.get_by_role("button", name="Fold all", exact=True).click()
    assert page.locator(".bd-article details[open]").count() == 0
    assert page.locator(".nc-verdict").count() == 0
    assert visit.faults == []


def test_a_chapter_is_printed(tmp_path: Path) -> None:
    if not (SITE / "index.html").is_file():
        cannot("the site is not built (run `ncourse build`)")
    book = load(REPOSITORY / "book.toml")
    handout(book, book.chapter(2), tmp_path / "two.pdf")
    printed = (tmp_path / "two.pdf").read_bytes()
    assert printed.startswith(b"%PDF-")
    assert 5 < printed.count(b"/Type /Page\n") < 60


def test_claims_are_found_by_words_and_by_source(visit: Visit, server: str) -> None:
    page = _open(visit, f"{server}/claims.html")
    shown = page.locator(".nc-claim-entry:visible")
    total = shown.count()
    page.get_by_label("Claims with").fill("VCI stretching")
    assert 0 < shown.count() < 4
    assert page.get_by_role("status").inner_text() == f"{shown.count()} of {total}"
    assert page.locator(".bd-article h2:visible").count() == 1
    page.get_by_label("Claims with").fill("")
    page.get_by_label("from").select_option("course")
    ours = shown.count()
    page.get_by_label("from").select_option("papers")
    assert 0 < ours < total
    assert shown.count() == total - ours


AUDITED = ["index.html", "02-four-definitions.html", "claims.html", "teaching-02.html"]


@pytest.mark.parametrize(
    "name",
    [
        *AUDITED,
        *(pytest.param(n, marks=pytest.mark.slow) for n in PAGES if n not in AUDITED),
    ],
)
def test_axe_finds_nothing(visit: Visit, server: str, name: str) -> None:
    page = _open(visit, f"{server}/{name}")
    for scheme in _in_both_schemes(page):
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == [], scheme


def test_every_player_moves_by_mouse_and_by_keyboard(visit: Visit, server: str) -> None:
    found = 0
    visit.page.emulate_media(reduced_motion="reduce")
    for chapter in load(REPOSITORY / "book.toml").chapters:
        page = _open_with_raw_formulas(visit, f"{server}/{chapter.stem}.html")
        for player in page.locator("nc-player").all():
            found += 1
            _move(player, f"{chapter.file}, player {player.get_attribute('id')}")
    assert found >= 16
    assert visit.faults == []


def _move(player: Any, where: str) -> None:
    handle = player.locator("input[type=range]")
    player.scroll_into_view_if_needed()
    assert player.locator("label input[type=range]").count() == 1, f"{where}: no label"
    assert player.locator("img").count() == 0, f"{where}: the picture is still there"

    def shown() -> tuple[str, str, str]:
        """What is drawn, what a screen reader says of it, and the value."""
        drawn = player.locator(".nc-panels").evaluate("one => one.innerHTML")
        said = handle.get_attribute("aria-valuetext")
        assert said.endswith(player.locator(".nc-says").inner_text())
        return drawn, said, player.locator("output").inner_text()

    handle.focus()
    handle.press("Home")
    states = [shown()]
    handle.press("ArrowRight")
    states.append(shown())
    box = handle.bounding_box()
    handle.click(position={"x": box["width"] - 3, "y": box["height"] / 2})
    states.append(shown())
    last = int(handle.get_attribute("max"))
    assert int(handle.input_value()) == last, f"{where}: a click at the end is not the end"
    handle.press("Home")
    assert shown() == states[0]
    for part, name in enumerate(("picture", "description", "value")):
        assert len({state[part] for state in states}) == 3, f"{where}: same {name}"


def test_a_player_plays_pauses_steps_and_loops(visit: Visit, server: str) -> None:
    page = _open(visit, f"{server}/00-start-here.html")
    player = page.locator("nc-player").first
    player.evaluate("one => one.player.go(0)")
    player.get_by_role("button", name="play", exact=True).click()
    page.wait_for_function("document.querySelector('nc-player').player.t > 0.2")
    between = player.evaluate("one => one.player.t")
    assert between % 1 != 0  # it moves, and does not jump
    player.get_by_role("button", name="pause").click()
    paused = player.evaluate("one => one.player.t")
    assert paused == round(paused)
    page.wait_for_timeout(300)
    assert player.evaluate("one => one.player.t") == paused
    player.get_by_role("button", name="one frame on").click()
    page.wait_for_function(f"document.querySelector('nc-player').player.t === {paused + 1}")
    player.get_by_role("button", name="loop").click()
    player.get_by_role("button", name="play", exact=True).click()
    last = player.evaluate("one => { const n = one.player.data.values.length; return n - 1 }")
    player.evaluate(f"one => {{ one.player.t = {last} - 0.01 }}")
    page.wait_for_function(f"document.querySelector('nc-player').player.t < {last} / 2")
    assert visit.faults == []


def test_a_point_shows_its_image_on_hover_and_by_keyboard(visit: Visit, server: str) -> None:
    page = _open(visit, f"{server}/00-start-here.html")
    player = page.locator("nc-player").first
    cloud = player.locator("svg[tabindex='0']").first
    tip = player.locator(".nc-tip").first
    assert not tip.is_visible()
    cloud.locator("g path[opacity='0.9']").first.hover(force=True)
    assert tip.locator("canvas").is_visible()
    page.mouse.move(0, 0)
    cloud.focus()
    page.keyboard.press("ArrowRight")
    first = tip.inner_html()
    assert tip.is_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert tip.inner_html() != first  # from the first class to the last
    assert visit.faults == []


# What is asked, and which page comes first: who asks for a word is told what it means, who asks
# for a subject where it is taught, who asks for a function how it is called.
SEARCHED = {
    "ETF": "glossary.html",
    "simplex": "glossary.html",
    "minority collapse": "glossary.html",
    "simplex geometry": "01-simplex-geometry.html",
    "Mahalanobis": "10-what-collapse-buys.html",
    "nearest_etf": "api-geometry.html#ncourse.simplex.nearest_etf",
}


@pytest.mark.parametrize("as_file", [False, True], ids=["served", "file"])
@pytest.mark.parametrize("asked", SEARCHED)
def test_search_explains_then_teaches_then_lists(
    visit: Visit, server: str, asked: str, as_file: bool
) -> None:
    address = (SITE / "search.html").as_uri() if as_file else f"{server}/search.html"
    page = visit.page
    page.goto(f"{address}?q={asked}")
    page.wait_for_function(
        "document.querySelector('.search-summary')?.textContent.includes('found')"
    )
    results = page.locator("#search-results li")
    targets = [one.get_attribute("href") or "" for one in results.locator("a").all()]
    assert targets[0].startswith(SEARCHED[asked]), targets[:5]
    # Attributes and methods, of which there are many, come after all that is prose.
    lists = ("api", "teaching", "references", "changelog")
    kinds = [target.startswith(lists) for target in targets]
    later = kinds[1:] if SEARCHED[asked].startswith("api") else kinds
    assert later == sorted(later), targets
    # Each of the first results says what stands there, and why it was found.
    for result in results.all()[:5]:
        assert len(result.locator(".context").inner_text()) > 30, result.inner_text()
        words = result.inner_text().lower()
        assert any(word in words for word in asked.lower().split()), words
    assert results.locator("mark").count() > 0
    # And its link leads to that place.
    for target in targets[:5]:
        file, _, anchor = target.partition("#")
        assert not anchor or f'id="{anchor}"' in (SITE / file).read_text(encoding="utf-8"), target
    assert visit.faults == []


def test_search_box_is_on_the_page(visit: Visit, server: str) -> None:
    page = _open(visit, f"{server}/index.html")
    page.keyboard.press("Control+k")
    box = page.locator("input[type=search]:visible")
    assert box.count() == 1
    box.fill("simplex")
    box.press("Enter")
    page.wait_for_url("**/search.html?q=simplex*")
    assert visit.faults == []


def test_dark_mode_can_be_chosen_and_is_remembered(visit: Visit, server: str) -> None:
    visit.page.emulate_media(color_scheme="light")
    page = _open(visit, f"{server}/index.html")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    for _ in range(3):
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
        page.locator("button.theme-switch-button:visible").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate(background) == dark
    assert visit.faults == []


CHAPTERS = [chapter.stem for chapter in load(REPOSITORY / "book.toml").chapters]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_prediction_is_kept_and_met_again(visit: Visit, server: str, chapter: str) -> None:
    page = _open_with_raw_formulas(visit, f"{server}/{chapter}.html")
    answer = page.locator(".nc-predicted")
    assert answer.count() == 1
    assert answer.inner_text() == ""
    guesses = page.locator("#predict-first .nc-guess")
    assert guesses.count() >= 3
    for number in (0, 1):  # who changes their mind keeps the second
        guesses.nth(number).click()
        assert [one.get_attribute("aria-pressed") for one in guesses.all()] == [
            "true" if k == number else "false" for k in range(guesses.count())
        ]
    said = guesses.nth(1).inner_text()
    page.reload(wait_until="load")
    assert guesses.nth(1).get_attribute("aria-pressed") == "true"
    assert answer.inner_text() == f"You predicted: “{said}”"
    assert visit.faults == []


def test_first_answers_are_marked_counted_and_kept(visit: Visit, server: str) -> None:
    page, address = visit.page, f"{server}/03-watching-collapse.html"
    page.goto(address)
    options = page.locator("section#quiz details")
    score = page.locator("section#quiz .nc-score")
    link = page.locator("nav.bd-links a", has_text="Watching collapse")
    assert score.inner_text() == ""
    assert link.locator(".nc-progress").count() == 0
    right = page.evaluate(
        """[...document.querySelectorAll("section#quiz details")].map(
            one => one.textContent.includes("Correct."))"""
    )
    first, second = (right.index(True), right.index(True, right.index(True) + 1))
    wrong = next(k for k in range(first + 1, len(right)) if not right[k] and k > second)
    # The second question wrong at first, then right: the first answer counts.
    options.nth(first).locator("summary").click()
    assert options.nth(first).locator(".nc-verdict").inner_text().startswith("✓")
    options.nth(wrong).locator("summary").click()
    assert options.nth(wrong).locator(".nc-verdict").inner_text().startswith("✗")
    options.nth(second).locator("summary").click()
    page.wait_for_function("document.querySelectorAll('#quiz .nc-verdict').length === 3")
    asked = re.search(r"(\d) of 2 right at the first try; (\d) questions", score.inner_text())
    assert asked, score.inner_text()
    assert re.search(r"2/\d+", link.inner_text())
    page.reload()
    assert asked[0] in score.inner_text()
    assert options.nth(first).get_attribute("open") is not None
    assert options.nth(wrong).get_attribute("open") is None or right[wrong] is False
    page.goto(f"{server}/glossary.html")
    assert re.search(r"2/\d+", link.inner_text())  # on other pages, too
    page.goto(address)
    page.get_by_role("button", name="Forget my answers").click()
    page.wait_for_function("!document.querySelector('#quiz .nc-verdict')")
    assert score.inner_text() == ""
    assert link.locator(".nc-progress").count() == 0
    assert visit.faults == []


def test_without_scripts_nothing_of_it_is_there(browser: Browser, server: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server}/03-watching-collapse.html")
    assert page.locator(".nc-guess, .nc-score, .nc-progress, .nc-verdict").count() == 0
    assert page.locator("#predict-first li").count() == 4
    context.close()


def test_each_chapter_can_be_copied_from_and_downloaded(visit: Visit, server: str) -> None:
    for chapter in load(REPOSITORY / "book.toml").chapters:
        page = _open_with_raw_formulas(visit, f"{server}/{chapter.stem}.html")
        cells = page.locator(".cell_input").count()
        assert cells
        assert page.locator(".cell_input button.copybtn").count() == cells
        source = page.locator(".btn-download-source-button").first.get_attribute("href")
        assert source == f"_sources/{chapter.file}"
        notebook = nbformat.read(SITE / source, as_version=4)
        assert notebook.cells[0].source.startswith(f"# {chapter.heading}")
        assert "widgets" not in notebook.metadata
    assert visit.faults == []


# Of the slide that is shown: what of it a class could not see. A formula is as large as its em.
UNSEEN = """() => {
  const page = Reveal.getCurrentSlide().querySelector('.page');
  const box = page.getBoundingClientRect();
  const found = [];
  if (page.scrollHeight > page.clientHeight || page.scrollWidth > page.clientWidth)
    found.push('more than fits');
  if (parseFloat(page.style.fontSize) < 21) found.push(`type of ${page.style.fontSize}`);
  for (const one of page.querySelectorAll('img, p, li, td, pre, svg')) {
    const at = one.getBoundingClientRect();
    if (!at.width || !one.checkVisibility()) continue;
    if (at.right > box.right + 1 || at.bottom > box.bottom + 1)
      found.push(`${one.tagName} outside`);
    if (one.tagName === 'IMG' && (at.height < 250 || !one.naturalWidth))
      found.push(`a figure of ${at.height} px`);
  }
  for (const one of page.querySelectorAll('mjx-container > svg')) {
    const em = one.getBoundingClientRect().width / one.viewBox.baseVal.width * 1000;
    if (em < 15) found.push(`a formula of ${em} px`);
  }
  if (page.querySelector('mjx-merror')) found.push('a formula that is none');
  const number = document.querySelector('.slide-number').getBoundingClientRect();
  for (const one of document.querySelectorAll('.controls button')) {
    const at = one.getBoundingClientRect();
    if (at.left < number.right && number.left < at.right && at.top < number.bottom)
      found.push('an arrow over the number');
  }
  return found;
}"""


@pytest.mark.parametrize("name", ["01-simplex-geometry.html", "slides/01-simplex-geometry.html"])
def test_marks_of_difficulty_are_read_as_words(visit: Visit, name: str) -> None:
    page = visit.page
    page.goto((SITE / name).as_uri())
    marks = page.locator("h2, h3").filter(has_text="●")
    assert marks.count() == 6
    said = [one.get_attribute("aria-label") for one in marks.locator("[role=img]").all()]
    assert [text for text in said if not re.fullmatch("difficulty [123] of 3", text or "")] == []
    assert len(said) == 6


@pytest.mark.parametrize("name", DECKS)
def test_slides_are_paged_through_and_all_on_them_is_seen(visit: Visit, name: str) -> None:
    page = visit.page
    page.set_viewport_size(BEAMER)  # type: ignore[arg-type]
    page.goto((SITE / "slides" / name).as_uri())
    page.evaluate("window.ready")
    total = page.evaluate("Reveal.getTotalSlides()")
    assert total > 15
    notes = page.evaluate("[...document.querySelectorAll('aside.notes')].map(one => one.innerText)")
    assert notes
    assert [text for text in notes if "\\(" in text or "\\[" in text] == []
    seen: dict[str, list[str]] = {}
    for _ in range(5 * total):
        title = page.evaluate("Reveal.getCurrentSlide().querySelector('h2').textContent")
        where = f"{page.evaluate('Reveal.getSlidePastCount()') + 1} {title}"
        seen[where] = page.evaluate(UNSEEN)
        if page.evaluate("Reveal.isLastSlide() && !Reveal.availableFragments().next"):
            break
        page.keyboard.press("n")  # to asides too
    assert {where: faults for where, faults in seen.items() if faults} == {}
    assert len(seen) == total
    assert visit.faults == []


@pytest.mark.parametrize("key", ["ArrowRight", "Space", "PageDown"])
def test_a_remote_control_walks_along_the_class(visit: Visit, key: str) -> None:
    page = visit.page
    page.goto((SITE / "slides" / "01-simplex-geometry.html").as_uri())
    page.evaluate("window.ready")
    total = page.evaluate("Reveal.getTotalSlides()")
    main = page.evaluate("Reveal.getHorizontalSlides().length")
    assert main <= 50 < total + 1
    assert main < total
    seen = set()
    for _ in range(3 * total):
        seen.add(tuple(page.evaluate("Object.values(Reveal.getIndices()).slice(0, 2)")))
        page.keyboard.press(key)
    assert seen == {(number, 0) for number in range(main)}
    assert visit.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_slides_are_light_or_dark_and_printed_light(visit: Visit, scheme: str) -> None:
    page = visit.page
    look = """() => [document.body, document.querySelector('.present h2')].map(
      (one, k) => getComputedStyle(one)[k ? 'color' : 'backgroundColor'].match(/\\d+/)[0] > 127)"""
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto((SITE / "slides" / "01-simplex-geometry.html").as_uri())
    page.evaluate("window.ready")
    assert page.evaluate(look) == ([True, False] if scheme == "light" else [False, True])
    page.keyboard.press("t")
    assert page.evaluate(look) == ([False, True] if scheme == "light" else [True, False])
    page.keyboard.press("t")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(look) == [True, False]
    page.goto((SITE / "slides" / "01-simplex-geometry.html").as_uri() + "?theme=dark")
    page.evaluate("window.ready")
    assert page.evaluate(look) == [False, True]


def test_the_speaker_has_a_window_with_the_next_slide_and_notes(visit: Visit) -> None:
    page = visit.page
    page.goto((SITE / "slides" / "01-simplex-geometry.html").as_uri())
    page.evaluate("window.ready")
    page.evaluate("""() => {
      const all = Reveal.getSlides();
      const shown = all.find(one => one.querySelector('aside.notes mjx-container'));
      const {h, v} = Reveal.getIndices(shown);
      Reveal.slide(h, v);
    }""")
    with page.expect_popup() as opened:
        page.keyboard.press("s")
    speaker = opened.value
    notes = speaker.locator(".speaker-controls-notes .value")
    notes.locator("mjx-container svg path").first.wait_for(state="attached")
    assert "\\(" not in notes.inner_text()
    assert notes.locator("mjx-container").first.bounding_box()["width"] > 5  # type: ignore[index]
    frames = [frame for frame in speaker.frames if "01-simplex" in frame.url]
    assert len(frames) == 2  # this slide, and the next
    speaker.close()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_all_decks_are_listed(visit: Visit, size: dict[str, int]) -> None:
    page = visit.page
    page.set_viewport_size(size)  # type: ignore[arg-type]
    page.goto((SITE / "slides" / "index.html").as_uri())
    links = page.locator("td a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert links == DECKS
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    minutes, slides = (
        page.locator(f"tr td:nth-child({column})").all_inner_texts() for column in (3, 4)
    )
    assert all(int(n) <= int(length) for n, length in zip(slides, minutes, strict=True))
    assert visit.faults == []


def test_a_slider_on_a_slide_moves_and_does_not_turn_the_page(visit: Visit) -> None:
    page = visit.page
    page.emulate_media(reduced_motion="reduce")
    page.goto((SITE / "slides" / "03-watching-collapse.html").as_uri())
    page.evaluate("window.ready")
    number = page.evaluate("""() => {
      const all = Reveal.getSlides();
      Reveal.slide(all.findIndex(one => one.querySelector('nc-player')));
      return Reveal.getSlidePastCount();
    }""")
    _move(page.locator("section.present nc-player"), "slide")
    assert page.evaluate("Reveal.getSlidePastCount()") == number
    assert visit.faults == []


def test_what_does_not_fit_on_a_slide_is_noticed(visit: Visit) -> None:
    page = visit.page
    page.set_viewport_size(BEAMER)  # type: ignore[arg-type]
    page.goto((SITE / "slides" / DECKS[0]).as_uri())
    page.evaluate("window.ready")
    assert page.evaluate(UNSEEN) == []
    page.evaluate("document.querySelector('.present .page').append('long '.repeat(2000))")
    assert "more than fits" in page.evaluate(UNSEEN)
