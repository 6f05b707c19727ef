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

CARD = DataCard("toy", 10, 5, 2, "abc")


def make(holds: bool = True, value: float = 2.0, text: str = "two is more than one") -> Claim:
    return Claim(text, holds, {"value": value}, "This course", {"other": 1.0})


def outcome(seed: int = 0, *claims: Claim) -> Outcome:
    table = {"epoch": [1, 2], "nc1": [0.123456789, 2e-9]}
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


def test_reported_claims_never_raise(capsys):
    reported = outcome(0, make(False)).reported()
    require(reported.claims)
    assert reported.claims[0].verdict == "does not hold (reported)"
    assert "✗" in capsys.readouterr().out


def test_nothing_is_hidden_in_html():
    bundle = make(text="<script>x</script> & more")._repr_mimebundle_()
    assert "<script>" not in bundle["text/html"]
    assert bundle[CLAIM_MIME]["text"] == "<script>x</script> & more"
    json.dumps(bundle)


def test_outcome_and_recording_survive_a_round_trip(tmp_path):
    first = outcome(3)
    assert Outcome.load(first.save(tmp_path / "o.json")) == first
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
