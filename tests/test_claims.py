"""Claims: what they need, when they raise, and how they are kept."""

import datetime
import importlib.metadata
import json
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ncourse.claims import (
    CLAIM_MIME,
    Claim,
    ClaimError,
    DataCard,
    Outcome,
    Recording,
    claim,
    repeat,
    require,
    summary,
)
from ncourse.comparisons import above, at_least, at_most, proved
from ncourse.tables import Table

CARD = DataCard("toy", 10, 5, 2, "abc")


def make(holds: bool = True, value: float = 2.0, text: str = "two is more than one") -> Claim:
    return Claim(text, holds, {"value": value}, "This course", {"other": 1.0})


def outcome(seed: int = 0, *claims: Claim) -> Outcome:
    table = Table({"epoch": [1, 2], "nc1": [0.123456789, 2e-9]})
    return Outcome("toy", "laptop", seed, CARD, claims or (make(),), {"run": table, "other": table})


@pytest.mark.parametrize(
    "broken",
    [{"text": " "}, {"source": ""}, {"measured": {}}, {"control": {}}],
    ids=["text", "source", "measured", "control"],
)
def test_a_claim_needs_every_part(broken):
    parts = {"text": "t", "measured": {"a": 1.0}, "source": "s", "control": {"b": 1.0}} | broken
    with pytest.raises(ValueError, match=next(iter(broken))):
        Claim(holds=True, **parts)


def test_claim_shows_and_raises(capsys):
    parts = {"measured": {"a": 1.0}, "source": "s", "control": {"b": 2.0}}
    assert claim("it is so", True, **parts).holds
    assert "✓ it is so" in capsys.readouterr().out
    with pytest.raises(ClaimError, match="it is not so"):
        claim("it is not so", False, **parts)
    assert "✗ it is not so" in capsys.readouterr().out


def test_require_shows_all_before_it_raises(capsys):
    with pytest.raises(ClaimError):
        require([make(False, text="first"), make(True, text="second")])
    shown = capsys.readouterr().out
    assert "first" in shown
    assert "second" in shown
    with pytest.raises(ValueError, match="no claims"):
        require([])


def compared(nc1: float, bound: float, control: float) -> Claim:
    """NC1 below its bound, which is proved, and at most 0.01, which is tuned."""
    return Claim.of(
        "NC1 is below its bound and ends at {2} or less; without it above {1:words}",
        {"NC1": proved(at_most(bound, nc1, measured=True))},
        "This course",
        {"without": above(1 / 2, control)},
        also={"at the end": at_most(0.01, nc1)},
    )


def test_a_claim_of_comparisons_says_their_thresholds_and_holds_if_all_do():
    true = compared(0.005, 0.02, 0.7)
    assert true.text == "NC1 is below its bound and ends at 0.01 or less; without it above half"
    assert true.holds is True
    assert (true.measured, true.control) == ({"NC1": 0.005}, {"without": 0.7})
    assert [one.name for one in true.comparisons] == ["NC1", "without", "at the end"]
    for false, name in (((0.005, 0.004, 0.7), "NC1"), ((0.005, 0.02, 0.5), "without")):
        made = compared(*false)
        assert not made.holds
        assert [one.name for one in made.comparisons if not one.holds] == [name]


def test_a_claim_needs_something_that_can_fail():
    with pytest.raises(ValueError, match="compares nothing; it could not fail"):
        Claim.of("it is so", {"a": 1.0}, "This course", {"b": 2.0})


def test_on_other_data_what_is_proved_is_judged_and_what_is_tuned_is_reported(capsys):
    broken = compared(0.03, 0.02, 0.7).elsewhere()
    assert (broken.verdict, broken.binding) == ("the proved part does not hold", True)
    with pytest.raises(ClaimError, match="NC1 is below its bound"):
        require([broken])
    kept = compared(0.015, 0.02, 0.3).elsewhere()  # neither tuned number is met
    assert (kept.verdict, kept.holds) == ("the proved part holds", True)
    assert kept.reference == {"without": "above 0.5", "at the end": "at most 0.01"}
    require([kept])
    assert "reference: without: above 0.5; at the end: at most 0.01" in capsys.readouterr().out


def test_on_other_data_a_claim_without_proof_neither_holds_nor_fails(capsys):
    tuned = Claim.of("{0}", {"a": at_least(2, 1.0)}, "This course", {"b": 2.0})
    assert tuned.verdict == "does not hold"
    reported = outcome(0, tuned).elsewhere()
    assert [made.verdict for made in reported.claims] == ["reported"]
    require(reported.claims)
    shown = capsys.readouterr().out
    assert "· 2" in shown
    assert "reference: a: at least 2" in shown
    assert str(reported).endswith("2 classes): 1 claims reported")


def test_on_other_data_a_claim_with_data_of_its_own_stays_as_it_is():
    made = Claim.of("{0}", {"a": at_least(2, 1.0)}, "s", {"b": 2.0}, data="none", fixed_data=True)
    assert made.elsewhere() is made


def test_on_other_data_a_claim_that_is_all_proof_stays_as_it_is():
    bound = Claim.of("{0}", {"a": proved(at_least(2, 1.0))}, "This course", {"b": 2.0})
    assert bound.elsewhere() is bound
    assert bound.verdict == "does not hold"


def test_nothing_is_hidden_in_html():
    bundle = make(text="<script>x</script> & more")._repr_mimebundle_()
    assert "<script>" not in bundle["text/html"]
    assert bundle[CLAIM_MIME]["text"] == "<script>x</script> & more"
    json.dumps(bundle)


COLOURS = {True: ("#2e7d32", "✓ holds"), False: ("#b3261e", "✗ does not hold")}


@pytest.mark.parametrize("holds", [True, False])
def test_a_claim_is_shown_as_words_as_a_page_and_as_data(holds):
    made = replace(make(holds), data="a < b")
    colour, verdict = COLOURS[holds]
    page = (
        f'<details class="nc-claim" style="border-left:4px solid {colour};padding:.3em .8em;'
        f'margin:.4em 0"><summary><b>{verdict}</b>: two is more than one</summary>'
        "<small><b>Measured</b> value: 2</small><br><small><b>Control</b> other: 1</small><br>"
        "<small><b>Source</b> This course</small><br><small><b>Data</b> a &lt; b</small></details>"
    )
    words = (
        f"{verdict[0]} two is more than one\n  measured: value: 2\n  control:  other: 1\n"
        "  source:   This course\n  data:     a < b"
    )
    kept = {
        "text": "two is more than one",
        "holds": holds,
        "measured": {"value": 2.0},
        "source": "This course",
        "control": {"other": 1.0},
        "binding": True,
        "data": "a < b",
    }
    assert made.as_dict() == kept
    assert made._repr_mimebundle_() == {
        "text/plain": words,
        "text/html": page,
        CLAIM_MIME: {**kept, "verdict": verdict[2:]},
    }
    assert replace(made, binding=False).verdict == f"{verdict[2:]} (reported)"


def test_what_is_reported_is_grey_and_binds_nobody():
    reported = Claim.of("{0}", {"a": at_least(2, 1.0)}, "s", {"b": 2.0}, data="toy").elsewhere()
    assert (reported.holds, reported.binding, reported.data) == (None, False, "toy")
    assert "solid #757575" in reported._repr_html_()
    assert "<b>· reported</b>" in reported._repr_html_()
    assert reported.as_dict()["reference"] == {"a": "at least 2"}


def test_an_outcome_is_shown_with_all_its_claims():
    proof = Claim.of("{0}", {"a": proved(at_least(2, 3.0))}, "s", {"b": 2.0})
    tuned = Claim.of("{0}", {"a": at_least(2, 3.0)}, "s", {"b": 2.0})
    mixed = outcome(1, proof, replace(proof, holds=False), tuned.elsewhere())
    head = "toy, scale laptop, seed 1, on toy (10 training samples, 2 classes): "
    assert str(mixed) == head + "1 of 2 claims hold, 1 reported"
    assert str(outcome(1, proof)) == head + "1 of 1 claims hold"
    assert mixed._repr_mimebundle_() == {
        "text/plain": "\n".join([str(mixed), *map(str, mixed.claims)]),
        "text/html": f"<p>{mixed}</p>" + "".join(one._repr_html_() for one in mixed.claims),
    }
    assert (
        "<p>&lt;b&gt;, scale" in replace(mixed, experiment="<b>")._repr_mimebundle_()["text/html"]
    )


def test_a_claim_is_displayed_in_a_notebook_and_printed_elsewhere(monkeypatch, capsys):
    displayed: list[Claim] = []
    notebook = SimpleNamespace(
        get_ipython=lambda: "a shell", display=SimpleNamespace(display=displayed.append)
    )
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    claim("in", True, measured={"a": 1}, source="s", control={"b": 2}, data=CARD)
    (shown,) = displayed
    assert shown.data == "toy: 10 training samples, 2 classes"
    assert capsys.readouterr().out == ""
    notebook.get_ipython = lambda: None  # IPython was imported, and no notebook runs
    require([make(), replace(make(), data="its own")], data=CARD)
    monkeypatch.delitem(sys.modules, "IPython")
    require([make()])
    out = capsys.readouterr().out
    assert displayed == [shown]
    assert out.count("✓ two is more than one") == 3
    assert out.count("data:     toy: 10 training samples, 2 classes") == 1
    assert out.count("data:     its own") == 1


def test_what_does_not_hold_is_named_claim_by_claim():
    broken = [make(False, text=name) for name in ("first", "second")]
    with pytest.raises(ClaimError) as raised:
        require([*broken, make()])
    assert str(raised.value) == "\n".join(["does not hold:", *map(str, broken)])


def test_files_are_short_and_in_the_words_of_their_claims(tmp_path):
    made = outcome(0, make(text="λ → 0"))
    text = made.save(tmp_path / "o.json").read_bytes().decode("utf-8")
    assert "λ → 0" in text
    assert text.endswith("}\n")
    recording = Recording((made,), "type this", "0.1", "2026-01-01")
    text = recording.save(tmp_path / "r.json").read_bytes().decode("utf-8")
    assert "λ → 0" in text
    assert '"seed":0,"data"' in text
    assert text.endswith('],"command":"type this","version":"0.1","date":"2026-01-01"}\n')
    assert Recording.load(tmp_path / "r.json").outcomes[0].claims == made.claims


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("outcomes", [], "r.json is a recording without outcomes"),
        ("command", 1, "r.json is not a recording"),
        ("tables", {"run": {}}, "a table is {}; expected columns that are lists"),
        ("tables", {"run": {"a": 1}}, "expected columns that are lists"),
    ],
)
def test_a_damaged_part_of_a_file_is_named(tmp_path, part, value, told):
    path = Recording((outcome(),), "c", "0.1", "2026-01-01").save(tmp_path / "r.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    (entry,) = content["outcomes"]
    (entry if part == "tables" else content)[part] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(told)):
        Recording.load(path)


def test_outcome_and_recording_survive_a_round_trip(tmp_path):
    first = outcome(3)
    assert Outcome.load(first.save(tmp_path / "o.json")) == first
    tuned = Claim.of("{0}", {"a": at_least(2, 1.0)}, "This course", {"b": 2.0})
    other = outcome(3, compared(0.015, 0.02, 0.3), compared(0.03, 0.02, 0.3), tuned).elsewhere()
    assert [made.holds for made in other.claims] == [True, False, None]
    assert Outcome.load(other.save(tmp_path / "o.json")) == other
    recording = Recording((first, outcome(4)), "type this", "0.1", "2026-01-01")
    loaded = Recording.load(recording.save(tmp_path / "r.json"))
    assert loaded.outcomes[1].seed == 4
    assert loaded.outcomes[0].tables["run"]["nc1"] == [0.123457, 2e-9]  # six digits are kept
    assert "seeds 3, 4; type this" in str(loaded)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"outcomes": [{"data": 1}]}', '{"a": 1}'])
def test_damaged_files_are_named(tmp_path, text):
    path = tmp_path / "broken.json"
    path.write_text(text)
    for kind in (Outcome, Recording):
        with pytest.raises(ValueError, match=r"broken\.json"):
            kind.load(path)


def test_repeat_runs_each_seed_and_keeps_what_was_asked():
    recording = repeat(outcome, (5, 6), command="x", keep=["run"])
    assert [each.seed for each in recording.outcomes] == [5, 6]
    assert list(recording.outcomes[0].tables) == ["run"]
    with pytest.raises(ValueError, match=r"^seeds is empty; expected at least one seed$"):
        repeat(outcome, ())


def test_repeat_passes_on_what_it_is_given_and_says_what_ran():
    given = []

    def experiment(**arguments):
        given.append(arguments)
        return outcome(arguments["seed"])

    recording = repeat(experiment, (5, 6), scale="paper")
    assert given == [{"seed": 5, "scale": "paper"}, {"seed": 6, "scale": "paper"}]
    assert recording.command == ""
    assert recording.version == importlib.metadata.version("ncourse")
    assert recording.date == datetime.date.today().isoformat()
    assert list(recording.outcomes[0].tables) == ["run", "other"]


def test_summary_counts_and_spreads():
    (row,) = summary([outcome(0, make(True, 2.0)), outcome(1, make(False, 4.0))])
    assert row == {
        "text": "two is more than one",
        "source": "This course",
        "held": 1,
        "runs": 2,
        "measured": {"value": (3.0, 2.0, 4.0)},
        "control": {"other": (1.0, 1.0, 1.0)},
    }
    assert summary([outcome()])[0]["measured"] == {"value": (2.0, 2.0, 2.0)}
    with pytest.raises(ValueError, match="same claims"):
        summary([outcome(), replace(outcome(), claims=(make(text="another"),))])
