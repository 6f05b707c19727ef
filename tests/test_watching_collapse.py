"""What chapter 3 and its teaching page say of the run is what the stored run shows."""

import re
from pathlib import Path

import nbformat
import pytest

from ncourse.course.pages import claims_of

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
NOTEBOOK = nbformat.read(NOTEBOOKS / "03-watching-collapse.ipynb", as_version=4)
CELLS = {cell.id: cell for cell in NOTEBOOK.cells}
NUMBER = r"\d+(?:\.\d+)?(?:e-?\d+)?"


def printed(name: str) -> str:
    return "".join(output.text for output in CELLS[name].outputs if output.get("name") == "stdout")


def alt(name: str) -> str:
    (details,) = (o.metadata["image/png"] for o in CELLS[name].outputs if "metadata" in o)
    return details["alt"]


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(NUMBER, text)]


def after(label: str, text: str) -> list[float]:
    """The numbers between the label and the end of its sentence or line."""
    return numbers(re.split(r"[.:;\n](?=\s|$)", text.split(label)[1])[0])


@pytest.fixture
def facts() -> dict[str, list[float]]:
    lines = printed("c03-06").splitlines()
    return {name: numbers(says) for name, says in (line.split(": ") for line in lines)}


def test_the_bookkeeping(facts):
    (terminal,) = facts["first epoch at zero training error"]
    later = facts["later epochs with an error"]
    (lowest,) = facts["epoch with the lowest loss"]
    assert "After a handful of passes" in CELLS["c03-01"].source
    assert terminal <= 6
    assert "lowest in the first ten epochs" in CELLS["c03-09"].source
    assert lowest <= 10
    assert "at epoch 100." in CELLS["c03-09"].source
    assert all(epoch <= 100 for epoch in later)
    says = alt("c03-08")
    assert after("zero from epoch", says)[0] == terminal
    assert after("later epochs with an error: ", says) == later
    assert after("fold in", says)[0] == lowest


def test_what_weight_decay_does(facts):
    says = alt("c03-16")
    wrong_again = set(facts["later epochs with an error"])
    assert after("NC4 of the 5e-3 run is ", says)[0] == 0
    assert set(after("at which it is above 0: ", says)) <= wrong_again
    for name in ("NC1", "NC2", "NC3"):
        much, little, none = after(f"{name} ", says.split("factors: ")[1])
        assert much > little > none
        assert none < 2.5


def test_random_labels_and_the_convolutional_network():
    says = alt("c03-21")
    true, test, true_without = after("true labels: ", says)
    random, _, random_without = after("random labels: ", says)
    cnn, _, cnn_without = after("CNN: ", says)
    assert test > 10 * true
    assert true_without / 1.5 < random < 1.5 * true_without  # "near the level"
    assert random < random_without
    assert true < cnn < cnn_without


def test_the_readers_loop_is_that_of_fit():
    rows = [numbers(line) for line in printed("c03-34d").splitlines()[1:]]
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5, 6]
    for _, own, fit, without in rows:
        assert own == pytest.approx(fit, abs=0.002)
        assert without == pytest.approx(own, rel=0.15)  # "hardly behind"


def test_the_teaching_page():
    claims = claims_of(NOTEBOOK)
    shown = {f"{value:.3g}" for claim in claims for value in claim["measured"].values()}
    shown |= {f"{value:.3g}" for claim in claims for value in claim["control"].values()}
    text = (NOTEBOOKS / "teaching" / "03.md").read_text(encoding="utf-8")
    (values,) = re.findall(r"The claims have the answer: (.+?)\. Do not", text)
    for value in re.findall(r"(?<![-\d])\d+\.?\d*(?!-)", values):
        assert value in shown, value
