"""The notebooks in a real JupyterLab, in Chromium: not trusted, trusted, and run."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from chromium import chromium
from nbformat.sign import NotebookNotary
from playwright.sync_api import Browser, Locator, Page, expect

from ncourse.course.manifest import Chapter, load
from ncourse.course.working_copy import working_copy
from ncourse.figures.live import LIVE

pytestmark = pytest.mark.browser

REPOSITORY = Path(__file__).parents[2]
BOOK = load(REPOSITORY / "book.toml")
CHAPTERS = [  # one of them in each run: it has players and an explorer
    pytest.param(chapter, id=chapter.stem, marks=() if chapter.number == 1 else pytest.mark.slow)
    for chapter in BOOK.chapters
]
SCREEN = {"width": 1400, "height": 900}
ROOM = 700  # pixels of that screen for a notebook's cells
SECONDS = 120  # for the server to answer
ELEMENTS = "nc-player, nc-simplex, nc-ufm, nc-phase"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def own(folder: Path) -> dict[str, str]:
    """The environment of a Jupyter that knows nothing of the machine's."""
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    return {**os.environ, **{name: str(folder / name) for name in names}, "OMP_NUM_THREADS": "1"}


@contextmanager
def serving(command: list[str], port: int, folder: Path) -> Iterator[str]:
    """The address that a command says, once a server is there, until the block ends."""
    said = folder / "said.txt"
    with said.open("w") as log:
        run = subprocess.Popen(
            command, cwd=folder, env=own(folder), stdout=subprocess.DEVNULL, stderr=log
        )
    try:
        for _ in range(4 * SECONDS):
            found = re.search(rf"http://127.0.0.1:{port}/lab\S*", said.read_text())
            with socket.socket() as there:  # it says where it is before it is there
                if found and there.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert run.poll() is None, "JupyterLab ended"
            time.sleep(0.25)
        assert found
        yield found[0]
    finally:
        run.terminate()
        try:
            run.wait(SECONDS)
        finally:
            run.kill()  # or it would outlive a test that fails


def live_figures(notebook: nbformat.NotebookNode) -> list[int]:
    """Of each cell that has live figures, how many."""
    counts = [
        sum(LIVE in output.get("data", {}) for output in cell.get("outputs", []))
        for cell in notebook.cells
    ]
    return [count for count in counts if count]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab on the cells with live figures (a whole chapter takes long).

    In `as-stored/` they are as they are downloaded, in `copied/` as `ncourse lab` lays them, in
    `trusted/` the same, signed by this JupyterLab.
    """
    folder = tmp_path_factory.mktemp("lab")
    copy = working_copy(BOOK, folder=folder / "copy").folder
    places = {"as-stored": BOOK.folder, "copied": copy, "trusted": copy}
    (folder / "JUPYTER_DATA_DIR").mkdir()
    notary = NotebookNotary(data_dir=str(folder / "JUPYTER_DATA_DIR"))
    for place, source in places.items():
        (folder / place).mkdir()
        for chapter in BOOK.chapters:
            notebook = nbformat.read(source / chapter.file, as_version=4)
            notebook.cells = [
                cell
                for cell in notebook.cells
                if any(LIVE in output.get("data", {}) for output in cell.get("outputs", []))
            ]
            notebook.metadata["place"] = place  # what is signed is what the notebook says
            nbformat.write(notebook, folder / place / chapter.file)
            if place == "trusted":
                notary.sign(notebook)
    notary.store.close()
    port = free_port()
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", f"--ServerApp.port={port}"),
        *("--ServerApp.token=", "--ServerApp.password=", f"--ServerApp.root_dir={folder}"),
        *("--allow-root", "--LabApp.news_url=None", "--ServerApp.port_retries=0"),
    ]
    with serving(command, port, folder):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on which nothing may go wrong."""
    page = browser.new_page(viewport=SCREEN)
    page.set_default_timeout(60_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console", lambda message: faults.append(message.text) if message.type == "error" else None
    )
    yield page
    page.close()
    assert faults == []


def output_cells(page: Page, chapter: Chapter) -> Iterator[tuple[Locator, int]]:
    """The outputs of each cell, scrolled into view, and how many live figures they have."""
    stored = nbformat.read(BOOK.path(chapter), as_version=4)
    for index, count in enumerate(live_figures(stored)):
        cell = page.locator(".jp-CodeCell").nth(index)
        cell.scroll_into_view_if_needed()
        yield cell.locator(".jp-Cell-outputWrapper"), count


@pytest.mark.parametrize("chapter", CHAPTERS)
@pytest.mark.parametrize("place", [pytest.param("as-stored", marks=pytest.mark.slow), "copied"])
def test_where_no_script_runs_each_live_figure_is_one_good_picture(page, lab, place, chapter):
    page.goto(f"{lab}/lab/tree/{place}/{chapter.file}?reset")
    page.locator(".jp-OutputArea-output img").first.wait_for()
    for cell, count in output_cells(page, chapter):
        pictures = cell.locator("img")
        pictures.nth(count - 1).wait_for()
        assert pictures.count() == count
        assert cell.locator("input, button, script").count() == 0
        assert page.locator("[data-live]").count() == 0
        for picture in pictures.all():
            natural, width, height = picture.evaluate(
                "one => [one.naturalWidth, one.width, one.height]"
            )
            assert natural >= 2 * width - 1, "not sharp"
            assert height < ROOM
            if place == "copied":  # of a stored PNG JupyterLab takes no alt text
                assert len(picture.get_attribute("alt") or "") > 20
        for words in cell.locator(".jp-OutputArea-output").all_inner_texts():
            assert not set("<{") & set(words), words[:200]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_where_scripts_run_each_live_figure_moves_and_fits(page, lab, chapter):
    page.goto(f"{lab}/lab/tree/trusted/{chapter.file}?reset")
    for cell, count in output_cells(page, chapter):
        figures = cell.locator(ELEMENTS)
        figures.nth(count - 1).wait_for()
        assert figures.count() == count
        assert cell.locator("img").count() == 0
        for figure in figures.all():
            box = figure.bounding_box()
            assert box
            assert box["height"] < ROOM, "slider and picture do not fit on a screen"
            slider = figure.locator("input[type=range]")
            if slider.count():
                before = figure.locator(".nc-says").first.inner_text()
                slider.first.focus()
                slider.first.press("End")
                slider.first.press("ArrowLeft")
                assert figure.locator(".nc-says").first.inner_text() != before
        light = figures.first.evaluate("one => getComputedStyle(one).color")
        page.evaluate("document.body.dataset.jpThemeLight = 'false'")  # as its dark theme does
        assert light == "rgb(34, 34, 34)"
        assert figures.first.evaluate("one => getComputedStyle(one).color") == "rgb(230, 230, 230)"
        page.evaluate("document.body.dataset.jpThemeLight = 'true'")


@pytest.fixture
def command(tmp_path: Path) -> tuple[Path, int, list[str]]:
    """A folder with the course, a port, and `ncourse lab` there without a browser of its own."""
    shutil.copy(REPOSITORY / "book.toml", tmp_path)
    shutil.copytree(BOOK.folder, tmp_path / BOOK.src)
    port = free_port()
    words = [sys.executable, "-m", "ncourse.course.cli", "lab", "--no-browser", "--port", str(port)]
    return tmp_path, port, words


def listening(port: int) -> bool:
    with socket.socket() as there:
        return there.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_lab_opens_the_chapter_that_was_asked_for(page, command):
    folder, port, words = command
    with serving([*words, "2"], port, folder) as address:
        page.goto(address)
        page.locator(".jp-Notebook h1", has_text="2. Four definitions").wait_for()
        page.wait_for_timeout(3000)  # in which news would pop up
        assert page.locator(".Toastify__toast, .jp-Dialog").count() == 0
        hidden = page.locator(".jp-CodeCell .jp-Placeholder-content")
        assert hidden.count() >= 1  # code that only draws is folded
        page.locator(".jp-DirListing-item", has_text="glossary.md").dblclick()
        page.locator(".jp-MarkdownViewer h1", has_text="Glossary").wait_for()
        page.locator(".jp-DirListing-item", has_text="playground.ipynb").dblclick()
        cell = page.locator(".jp-NotebookPanel:visible .jp-CodeCell")
        cell.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        frame = page.frame_locator("iframe[title^='The playground']")
        frame.locator(".pg-epoch", has_text=re.compile("epoch [1-9]")).wait_for()
        page.close()  # or it misses the server
    assert not listening(port), "who stops the command stops JupyterLab"


@pytest.mark.slow
def test_chapter_0_run_whole_saved_and_opened_again(page, command):
    folder, port, words = command
    with serving(words, port, folder) as address:
        page.goto(address)
        page.locator(".jp-Notebook h1", has_text="0. Start here").wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        training = page.locator(".jp-CodeCell", has_text="EPOCHS, SEED = 200, 0")
        training.evaluate("one => one.scrollIntoView()")
        said = training.locator(".jp-OutputArea-output")
        said.get_by_text(re.compile(r"/200 .*error \d.*NC1 ")).wait_for()  # it is seen to train
        said.get_by_text("first epoch at zero training error").wait_for()
        player = page.locator("nc-player")
        for again in (False, True):
            player.scroll_into_view_if_needed()
            box = player.bounding_box()
            assert box
            assert box["height"] < ROOM
            player.locator("input[type=range]").press("End")
            assert player.locator("output").first.inner_text() == "200"
            wrong = "[data-mime-type='application/vnd.jupyter.stderr'], .jp-RenderedError"
            assert page.locator(wrong).count() == 0
            assert "widget" not in said.locator("xpath=..").first.inner_text()
            expect(page.locator(".jp-InputPrompt", has_text="[*]")).to_have_count(0, timeout=60_000)
            if not again:
                page.keyboard.press("Escape")
                page.get_by_role("menuitem", name="File", exact=True).click()
                page.get_by_text("Save Notebook", exact=True).click()
                page.wait_for_function("!document.querySelector('.jp-mod-dirty')")
                page.reload()
                page.locator(".jp-Notebook h1", has_text="0. Start here").wait_for()
                training.evaluate("one => one.scrollIntoView()")
        page.close()
    mine = nbformat.read(folder / "my-course" / "00-start-here.ipynb", as_version=4)
    for cell in mine.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
            assert "%|" not in str(output.get("data", {}).get("text/plain", ""))
