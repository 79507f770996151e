"""The three pieces of work: what they call, where they turn, how they end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from app.demo.scenario import Call
from app.demo.server import SCENARIOS, load_scenarios
from app.demo.site import PAGES
from app.domain.blueprint import Blueprint, parse_blueprint
from app.domain.shell import shell_view

from tests.demo.agent import Agent

BLUEPRINTS = Path(__file__).parents[2] / "policies" / "blueprints"
NAMES = ("market-brief", "code-migration", "rotate-secret")


def blueprint(name: str) -> Blueprint:
    return parse_blueprint((BLUEPRINTS / f"{name}.toml").read_text(encoding="utf-8"), name)


def answers(denied: Mapping[str, str]) -> dict[str, tuple[str, bool]]:
    return {key: (f"PreToolUse:X hook error: {reason}", True) for key, reason in denied.items()}


def worker(name: str, denied: Mapping[str, str]) -> Agent:
    """An agent whose tools work, but for the calls that hold one of these words."""
    refused = answers(denied)

    def tool(call: Call) -> tuple[str, bool]:
        text = call.tool + str(call.input)
        for word, answer in refused.items():
            if word in text:
                return answer
        if "contoso.demo.test" in text:
            return (PAGES / "contoso-pricing.html").read_text(encoding="utf-8"), False
        return "ok", False

    return Agent(blueprint(name).task, tool=tool)


@pytest.mark.parametrize("name", NAMES)
def test_the_blueprint_is_complete(name: str) -> None:
    plan = blueprint(name)
    scenario = load_scenarios(SCENARIOS)[name]
    assert (plan.name, plan.demo, plan.network, f"[scenario:{name}]" in plan.task) == (name, True, "sealed", True)
    assert set(scenario.parts) == {"main", *(agent.name for agent in plan.agents)}
    used = {call.tool for part in scenario.parts.values() for step in part.steps for call in step.calls}
    assert {tool for tool in used if not tool.startswith("mcp__")} <= set(plan.tools)
    assert {tool.split("__")[1] for tool in used if tool.startswith("mcp__")} == {server for server, _ in plan.mcp}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "denied",
    [{}, {"mcp__mail": "no"}, {"service push": "no"}, {"service push": "no", "mcp__mail": "no"}, {"rm -rf": "no"}],
)
def test_every_way_through_ends(name: str, denied: dict[str, str]) -> None:
    agent = worker(name, denied)
    assert agent.play().texts[0]
    assert not any("{{" in text for turn in agent.turns for text in turn.texts)
    assert not any("{{" in str(call.input) for call in agent.calls)


def test_market_brief_fetches_writes_delegates_and_asks_to_send() -> None:
    agent = worker("market-brief", {"cdn.tracker.test": "not on the list"})
    assert "delivered" in agent.play().texts[0]
    assert [call.tool for call in agent.calls] == [
        *("Bash", "Bash", "Bash", "Bash", "Write", "Bash", "Agent", "Read", "mcp__mail__send_email")
    ]
    assert agent.calls[-1].input["to"] == "leadership@example.com"


def test_market_brief_asks_only_for_hosts_of_its_list_and_one_tracker() -> None:
    plan = blueprint("market-brief")
    agent = worker("market-brief", {})
    agent.play()
    urls = [
        word
        for call in agent.calls
        for word in str(call.input.get("command", "")).replace('"', "").split()
        if "://" in word
    ]
    hosts = [url.split("/")[2].split(":")[0] for url in urls]
    assert [host for host in hosts if plan.egress_match(host, 80) is None] == ["cdn.tracker.test"]
    assert len(hosts) == 4


def test_market_brief_accepts_a_denied_letter() -> None:
    agent = worker("market-brief", {"mcp__mail": "wrong quarter in the subject"})
    said = agent.play().texts[0]
    assert "not sent: wrong quarter in the subject" in said


def test_market_brief_sends_nothing_after_a_message_that_says_so() -> None:
    agent = worker("market-brief", {"cdn.tracker.test": "no"})
    agent.step()
    agent.steer("Cite the dates, and no mail this time.")
    assert "Cite the dates" in agent.step().texts[0]
    assert "nothing was sent" in agent.play().texts[0]
    agent.say("Thank you. Now send it after all.")
    agent.play()
    assert not any(call.tool.startswith("mcp__") for call in agent.calls)


def test_market_brief_stops_when_a_page_is_missing() -> None:
    agent = worker("market-brief", {"contoso": "connection refused"})
    assert "stop here instead of guessing" in agent.play().texts[0]
    assert "Write" not in {call.tool for call in agent.calls}


def test_market_brief_s_researcher_reads_and_writes() -> None:
    child = Agent("Write the brief.", system=blueprint("market-brief").agents[0].prompt)
    child.play()
    assert [call.tool for call in child.calls] == ["Read", "Write"]


def test_code_migration_tries_a_removal_that_the_policy_knows_and_goes_on() -> None:
    agent = worker("code-migration", {"rm -rf": "RM_ROOT: recursive removal of a home folder"})
    assert "migration is finished" in agent.play().texts[0]
    commands = [str(call.input["command"]) for call in agent.calls if call.tool == "Bash"]
    hazards = {command: shell_view(command, "/workspace")["hazards"] for command in commands}
    assert [command for command, found in hazards.items() if found] == ["rm -rf /workspace/legacy ~"]
    assert "RM_ROOT" in agent.turns[-3].texts[0]


def test_rotate_secret_asks_twice_and_hands_over_what_was_denied() -> None:
    agent = worker("rotate-secret", {"mcp__mail": "the partner is told by phone"})
    assert "HANDOVER.md" in agent.play().texts[0]
    risky = [
        call.tool for call in agent.calls if "push" in str(call.input.get("command")) or call.tool.startswith("mcp__")
    ]
    assert risky == ["Bash", "mcp__mail__send_email"]
    assert "the partner is told by phone" in str(agent.calls[-1].input["content"])


def test_rotate_secret_asks_twice_also_when_the_first_is_denied() -> None:
    agent = worker("rotate-secret", {"service push": "freeze until Monday"})
    assert "prepared, not deployed" in agent.play().texts[0]
    assert agent.calls[-1].tool == "mcp__mail__send_email"


def test_rotate_secret_s_push_is_seen_as_an_effect_outside() -> None:
    agent = worker("rotate-secret", {})
    agent.play()
    commands = [str(call.input["command"]) for call in agent.calls if call.tool == "Bash"]
    outside = [command for command in commands if shell_view(command, "/workspace")["hazards"] == ["remote-effect"]]
    assert outside == ["git -C service push origin main"]
