"""Claims: what they need, when they raise, and how they are kept."""

import json
from dataclasses import replace

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


def test_outcome_and_recording_survive_a_round_trip(tmp_path):
    first = outcome(3)
    assert Outcome.load(first.save(tmp_path / "o.json")) == first
    other = outcome(3, compared(0.015, 0.02, 0.3), compared(0.03, 0.02, 0.3)).elsewhere()
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
    with pytest.raises(ValueError, match="seeds is empty"):
        repeat(outcome, ())


def test_summary_counts_and_spreads():
    (row,) = summary([outcome(0, make(True, 2.0)), outcome(1, make(False, 4.0))])
    assert (row["held"], row["runs"]) == (1, 2)
    assert row["measured"] == {"value": (3.0, 2.0, 4.0)}
    with pytest.raises(ValueError, match="same claims"):
        summary([outcome(), replace(outcome(), claims=(make(text="another"),))])
