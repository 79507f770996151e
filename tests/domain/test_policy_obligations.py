"""Duties that an action leaves behind: known names only, and never one that no tool can do."""

from __future__ import annotations

import pytest
from app.domain.errors import BadPolicy
from app.domain.policy_text import parse_bundle

from tests.domain.policy_kit import HEAD, bundle, rule

CHECKS = "[health_checks]\ntools = ['mcp__*__*health*', 'Read', 'Nope']\n"
OWES = rule("ask", "ESCALATE", more='obligations = ["health-check"]')


def test_a_bundle_names_the_tools_that_meet_an_obligation() -> None:
    loaded = bundle(OWES, HEAD + CHECKS)
    assert loaded.rules[0].obligations == ("health-check",)
    assert [glob.text for glob in loaded.health_checks] == ["mcp__*__*health*", "Read", "Nope"]
    assert loaded.meets("health-check", "mcp__api__get_health")
    assert loaded.meets("health-check", "Read")
    assert not loaded.meets("health-check", "Bash")
    assert not loaded.meets("health-check", "Nope"), "a tool that the bundle does not know cannot be called"
    assert not loaded.meets("something", "Read")
    assert not bundle(rule("a", "ALLOW")).meets("health-check", "Read")


@pytest.mark.parametrize(
    ("head", "rules", "where", "reason"),
    [
        (HEAD + CHECKS, rule("a", "ALLOW", more='obligations = ["note"]'), "rules.toml:5", "unknown obligation 'note'"),
        (HEAD, OWES, "rules.toml:1", "[health_checks]"),
        (HEAD + CHECKS, rule("a", "DENY", more='obligations = ["health-check"]'), "rules.toml:5", "no obligation"),
        (HEAD + "[health_checks]\ntool = ['x']\n", OWES, "bundle.toml:9", "unknown key 'tool'"),
        (HEAD + "[health_checks]\ntools = ['a b']\n", OWES, "bundle.toml:9", "not a tool's name"),
    ],
)
def test_an_obligation_that_cannot_be_met_does_not_load(head: str, rules: str, where: str, reason: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        bundle(rules, head)
    assert caught.value.message.startswith(f"test/{where}:")
    assert reason in caught.value.message


def test_the_tools_of_extended_bundles_count_too() -> None:
    base = {"bundle.toml": HEAD + CHECKS, "rules.toml": OWES}
    own = {"bundle.toml": 'name = "own"\nextends = ["test"]\n[health_checks]\ntools = ["Bash"]\n', "rules.toml": ""}
    loaded = parse_bundle(own, "own", find=lambda name: (base, "test"))
    assert loaded.meets("health-check", "Bash")
    assert loaded.meets("health-check", "Read")
