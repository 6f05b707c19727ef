"""The notebooks in a real JupyterLab that does not trust them, in Chromium."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, sync_playwright

from ncourse.course.manifest import load
from ncourse.figures.live import LIVE

pytestmark = [pytest.mark.browser, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
CHAPTERS = load(REPOSITORY / "book.toml").chapters
SCREEN = {"width": 1400, "height": 900}
SECONDS = 120  # for the server to answer


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab on copies of the notebooks that nobody has signed."""
    folder = tmp_path_factory.mktemp("lab")
    for chapter in CHAPTERS:
        notebook = nbformat.read(REPOSITORY / "notebooks" / chapter.file, as_version=4)
        notebook.cells = [  # live figures only: a whole chapter takes long to show
            cell
            for cell in notebook.cells
            if any(LIVE in output.get("data", {}) for output in cell.get("outputs", []))
        ]
        nbformat.write(notebook, folder / chapter.file)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {name: str(folder / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", f"--ServerApp.port={port}"),
            *("--ServerApp.token=", "--ServerApp.password=", f"--ServerApp.root_dir={folder}"),
            *("--allow-root", "--LabApp.news_url=None", "--ServerApp.port_retries=0"),
        ],
        env={**os.environ, **own},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(4 * SECONDS):
            try:
                with urllib.request.urlopen(f"{address}/api", timeout=5) as answer:
                    json.load(answer)
                break
            except (urllib.error.URLError, ConnectionError):
                assert run.poll() is None, "JupyterLab ended"
                time.sleep(0.25)
        yield address
    finally:
        run.terminate()
        run.wait(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield running
        running.close()


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)
def test_untrusted_each_live_figure_is_one_good_picture(browser, lab, chapter) -> None:
    notebook = nbformat.read(REPOSITORY / "notebooks" / chapter.file, as_version=4)
    stored = [  # of each cell that has live figures, how many
        sum(LIVE in output.get("data", {}) for output in cell.get("outputs", []))
        for cell in notebook.cells
    ]
    page = browser.new_page(viewport=SCREEN)
    try:
        page.goto(f"{lab}/lab/tree/{chapter.file}?reset")
        cells = page.locator(".jp-CodeCell .jp-Cell-outputWrapper")
        page.locator(".jp-OutputArea-output img").first.wait_for(timeout=60_000)
        assert page.locator("nc-player, nc-simplex, nc-ufm, nc-phase").count() == 0  # no script
        for index, count in enumerate(filter(None, stored)):
            page.locator(".jp-CodeCell").nth(index).scroll_into_view_if_needed()
            cell = cells.nth(index)
            pictures = cell.locator("img")
            pictures.nth(count - 1).wait_for(timeout=20_000)
            assert pictures.count() == count
            for picture in pictures.all():
                size = picture.evaluate("one => [one.naturalWidth, one.width, one.height]")
                assert size[0] >= 2 * size[1] - 1, "not sharp"
                assert size[2] < 700
            for words in cell.locator(".jp-OutputArea-output").all_inner_texts():
                assert not set("<{") & set(words), words[:200]
    finally:
        page.close()


def test_lab_opens_the_chapter_that_was_asked_for(browser, tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "book.toml", tmp_path)
    shutil.copytree(REPOSITORY / "notebooks", tmp_path / "notebooks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    command = [sys.executable, "-m", "ncourse.course.cli", "lab", "2", "--no-browser"]
    said = tmp_path / "said.txt"
    with said.open("w") as log:
        run = subprocess.Popen(
            [*command, "--port", str(port)], cwd=tmp_path, env={**os.environ, **own}, stderr=log
        )
    page = browser.new_page(viewport=SCREEN)
    try:
        for _ in range(4 * SECONDS):
            found = re.search(rf"http://127.0.0.1:{port}/lab\S+", said.read_text())
            with socket.socket() as there:  # it says where it is before it is there
                if found and there.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert run.poll() is None, "JupyterLab ended"
            time.sleep(0.25)
        assert found
        page.goto(found[0])
        page.locator(".jp-Notebook h1", has_text="2. Four definitions").wait_for(timeout=60_000)
        page.wait_for_timeout(3000)  # in which news would pop up
        assert page.locator(".Toastify__toast, .jp-Dialog").count() == 0
        hidden = page.locator(".jp-CodeCell .jp-Placeholder-content")
        assert hidden.count() >= 1  # code that only draws is folded
        page.locator(".jp-DirListing-item", has_text="glossary.md").dblclick()
        page.locator(".jp-MarkdownViewer h1", has_text="Glossary").wait_for(timeout=20_000)
    finally:
        page.close()
        run.terminate()
        assert run.wait(30) is not None
    with socket.socket() as again:  # who stops the command stops JupyterLab
        assert again.connect_ex(("127.0.0.1", port)) != 0
