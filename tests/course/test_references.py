"""The bibliography, and the lines that are made from it."""

import re
from pathlib import Path

import pytest

from ncourse.course import references
from ncourse.course.references import CitationError, load, with_references

REPOSITORY = Path(__file__).parents[2]
BIBLIOGRAPHY = REPOSITORY / "notebooks" / "references.bib"
ENTRY = """@article{one2020,
  label = {One 2020},
  author = {van One, Ann Bee and {Del Two}, Carl},
  title = {A {Title}},
  journal = {Journal 1},
  year = {2020},
  doi = {10.1/one},
  eprint = {2001.00001}
}
"""


def test_an_entry_becomes_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.bib").write_text(ENTRY)
    one = load(tmp_path / "a.bib")["one2020"]
    assert one.line == (
        "A. B. van One, C. Del Two, *A Title*, Journal 1, 2020. "
        "[doi:10.1/one](https://doi.org/10.1/one), "
        "[arXiv:2001.00001](https://arxiv.org/abs/2001.00001)"
    )
    assert (one.label, one.url, one.arxiv) == ("One 2020", "https://doi.org/10.1/one", "2001.00001")


def test_conference_arxiv_only_and_url(tmp_path: Path) -> None:
    text = ENTRY.replace("journal = {Journal 1}", "booktitle = {ICML}").replace("article", "misc")
    (tmp_path / "a.bib").write_text(text.replace("  doi = {10.1/one},\n", ""))
    one = load(tmp_path / "a.bib")["one2020"]
    assert ", ICML 2020. [arXiv:" in one.line
    assert one.url == "https://arxiv.org/abs/2001.00001"
    text = ENTRY.replace("doi = {10.1/one}", "url = {https://a.org/x}").replace(
        "Journal 1", "arXiv"
    )
    (tmp_path / "a.bib").write_text(text)
    assert (
        "*, 2020. [full text](https://a.org/x), [arXiv:" in load(tmp_path / "a.bib")["one2020"].line
    )


@pytest.mark.parametrize(
    ("old", "new", "fragments"),
    [
        ("  label = {One 2020},\n", "", ["one2020", "no label", "label = {...}"]),
        ("year = {2020}", "year = {}", ["one2020", "no year"]),
        ("  author = {van One, Ann Bee and {Del Two}, Carl},\n", "", ["no author"]),
        ("eprint = {2001.00001}", "eprint = {arXiv:2001}", ["eprint of one2020", "2008.08186"]),
        ("  doi = {10.1/one},\n  eprint = {2001.00001}\n", "", ["nowhere to be found"]),
        ("  eprint = {2001.00001}\n}\n", "  eprint = {2001", ["not valid BibTeX"]),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, old: str, new: str, fragments: list[str]) -> None:
    assert old in ENTRY
    (tmp_path / "a.bib").write_text(ENTRY.replace(old, new))
    with pytest.raises(CitationError) as caught:
        load(tmp_path / "a.bib")
    for fragment in fragments:
        assert fragment in str(caught.value)
    with pytest.raises(CitationError, match="does not exist"):
        load(tmp_path / "b.bib")


def test_list_items_are_made_from_the_bibliography_and_comments_stay(tmp_path: Path) -> None:
    (tmp_path / "a.bib").write_text(ENTRY)
    works = load(tmp_path / "a.bib")
    text = (
        "- [kept](https://b.org)\n\n## References\n\n- X [y](https://doi.org/10.1/one) (first).\n"
    )
    made = with_references(text, works, "a")
    assert made.endswith(f"- {works['one2020'].line} (first).\n")
    assert made.startswith("- [kept](https://b.org)\n")
    assert with_references(made, works, "a") == made
    with pytest.raises(CitationError, match=r"03\.ipynb refers to https://b\.org, which"):
        with_references("## References\n\n- [y](https://b.org)\n", works, "03.ipynb")


def test_every_work_is_cited_somewhere() -> None:
    notebooks = REPOSITORY / "notebooks"
    files = [
        *notebooks.glob("*.ipynb"),
        *notebooks.glob("*.md"),
        *(REPOSITORY / "ncourse").rglob("*.py"),
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    for work in references.load(BIBLIOGRAPHY).values():
        assert work.url in text or (work.arxiv and work.arxiv in text), f"nobody cites {work.key}"


def test_every_number_on_arxiv_in_the_package_is_in_the_bibliography() -> None:
    known = {work.arxiv for work in references.load(BIBLIOGRAPHY).values()}
    for path in (REPOSITORY / "ncourse").rglob("*.py"):
        text = " ".join(path.read_text(encoding="utf-8").split())
        for number in re.findall(r"arXiv[ :](\d{4}\.\d{4,5})", text):
            if path.name != "references.py":
                assert number in known, f"{path.name} cites arXiv {number}"


def test_every_link_to_a_work_in_a_text_is_in_the_bibliography() -> None:
    works = references.load(BIBLIOGRAPHY).values()
    known = {work.url for work in works} | {f"https://arxiv.org/abs/{w.arxiv}" for w in works}
    for path in [*(REPOSITORY / "notebooks").glob("*.ipynb"), *REPOSITORY.glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        for url in re.findall(r"https?://(?:doi\.org|arxiv\.org/abs)/[^)\s\"\\]+", text):
            assert url in known, f"{path.name} links to {url}"
