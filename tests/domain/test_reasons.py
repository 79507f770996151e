"""The registry of reason codes is complete."""

from __future__ import annotations

import pytest
from app.domain.reasons import Reason

PUBLIC = {
    "ALLOW",
    "DENY_TOOL_NOT_FOUND",
    "SCHEMA_VIOLATION",
    "BUDGET_EXCEEDED",
    "SANDBOX_VIOLATION",
    "APPROVAL_REQUIRED",
    "APPROVAL_TIMEOUT",
}


@pytest.mark.parametrize("reason", list(Reason))
def test_every_code_says_what_it_means_and_what_to_do(reason: Reason) -> None:
    assert reason.value == reason.name
    assert reason.meaning.endswith(".")
    assert reason.remedy.endswith(".")


def test_the_public_names_are_kept() -> None:
    assert {reason.value for reason in Reason} >= PUBLIC
