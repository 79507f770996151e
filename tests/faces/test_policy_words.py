"""What the blueprint page says that a run may do is what the policy says, rule by rule."""

from __future__ import annotations

import pytest
from app.adapters.policies import load_library
from app.settings import ROOT
from app.web.policy_words import policy_line
from app.web.rows import Tone

BUNDLE = load_library(ROOT / "policies").bundle("default")


@pytest.mark.parametrize(
    ("tool", "verdict", "note", "tone"),
    [
        ("Agent", "allowed", "", Tone.QUIET),
        ("Read", "allowed; 1 rule refuses", "read-secrets refuses", Tone.QUIET),
        ("Write", "asks a person; 1 rule refuses, 1 allows", "read-secrets refuses; write-inside allows", Tone.NEED),
        ("mcp__mail__*", "asks a person; 1 rule allows", "mcp-read allows", Tone.NEED),
        ("egress", "refused; 1 rule allows", "egress-listed allows", Tone.BAD),
        ("Unknown", "refused", "", Tone.BAD),
    ],
)
def test_a_line_tells_the_verdict_and_its_exceptions(tool: str, verdict: str, note: str, tone: Tone) -> None:
    line = policy_line("it", tool, BUNDLE)
    assert (line.verdict, line.note, line.tone) == (verdict, note, tone)


def test_a_shell_is_allowed_behind_its_tripwires() -> None:
    line = policy_line("Bash", "Bash", BUNDLE)
    assert line.verdict.startswith("allowed; ")
    assert "shell-destroys" in line.note.partition(" refuse")[0]
    assert "shell-reaches-out" in line.note.partition(" refuse")[2]
