"""Policies and facts that are made to break the evaluator: a typed refusal with its place, or DENY with a reason; in
bounded time and memory, and never an exception or an ALLOW."""

from __future__ import annotations

import dataclasses
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any, Final

import pytest
from app.domain.canonical import Json, canonical_bytes
from app.domain.errors import BadPolicy
from app.domain.policy import decide
from app.domain.policy_cases import parse_cases
from app.domain.policy_text import parse_bundle
from app.domain.reasons import Reason
from app.domain.verdict import GrantFacts, Verdict

from tests.domain.policy_kit import HEAD, ask, bundle, rule

MOST_SECONDS: Final = 10.0
MOST_MEMORY: Final = 64 * 1024 * 1024
DEEP: Final = 100_000


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    tracemalloc.start()
    started = time.monotonic()
    try:
        yield
        assert time.monotonic() - started < MOST_SECONDS
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


def one(more: str) -> str:
    return '[[rules]]\nid = "a"\ntools = ["Read"]\nverdict = "ALLOW"\n' + more


RULES = {
    "recursion in TOML": one("x = " + "[" * DEEP + "]" * DEEP),
    "inline tables without end": one("approval = " + "{ a = " * 5_000),
    "a string of 1 MB": one("message = '" + "a" * 1_000_000 + "'"),
    "a list of 10^5": one("obligations = [" + "'a'," * 60_000 + "]"),
    "10^5 rules": "[[rules]]\n" * 25_000,
    "a tool of 10^5 characters": one("").replace('"Read"', '"' + "R" * 100_000 + '"'),
    "10^4 tools": one("").replace('"Read"', '"Read",' * 10_000),
    "many stars": one("").replace("Read", "*a" * 50),
    "a key twice": one('verdict = "DENY"'),
    "a table twice": one("[rules]\n[rules]\n"),
    "NaN": one("timeout = nan").replace("ALLOW", "ESCALATE"),
    "infinity": one("approval = { quorum = inf }").replace("ALLOW", "ESCALATE"),
    "past 2^53": one("timeout = 9007199254740993").replace("ALLOW", "ESCALATE"),
    "a negative delay": one("approval = { delay = -1 }").replace("ALLOW", "ESCALATE"),
    "a number of 5,000 digits": one("timeout = " + "9" * 5_000).replace("ALLOW", "ESCALATE"),
    "NUL": one('message = "a\\u0000b"'),
    "half a surrogate pair": one('message = "\\ud800"'),
    "a date": one("message = 1979-05-27T07:32:00Z"),
    "keys that look like our own": one("terms = { plain = true }\n__class__ = 'Rule'"),
    "a reason that is no denial": one('reason_code = "APPROVED"').replace("ALLOW", "DENY"),
    "an empty condition": one("when = ' '"),
    "NUL in a condition": one("when = \"args.x == '\\u0000'\""),
    "recursion in a condition": one("when = '" + "(" * 2_000 + "true" + ")" * 2_000 + "'"),
    "a chain of operators": one("when = '" + "!" * 4_000 + "true'"),
    "a chain of selections": one("when = 'args" + ".a" * 2_000 + " == 1'"),
    "macros in macros": one("when = 'args.a.all(x, args.a.all(y, args.a.all(z, x == y)))'"),
    "a list that doubles": one("when = 'args.a.map(x, [x, x] + [x, x]).size() > 0'"),
    "a variable that is not there": one("when = 'secrets.x == 1'"),
    "a protocol message": one("when = 'google.protobuf.Struct{} == args'"),
}


@pytest.mark.parametrize("name", RULES)
def test_a_hostile_policy_does_not_load_and_says_where(name: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        bundle(RULES[name])
    assert caught.value.message.startswith("test/")
    assert len(caught.value.message) < 1_000


@pytest.mark.parametrize(
    "head",
    [
        HEAD + "x = " + "[" * DEEP,
        HEAD + "".join(f'"mcp__{n}__*" = "read"\n' for n in range(20_000)),
        HEAD + 'Bash = "read"\n',
        HEAD + '"' + "*" * 50 + '" = "read"\n',
        'name = "../x"\n' + HEAD.replace('name = "test"', ""),
        'extends = ["test"]\n' + HEAD,
        'extends = ["a", "a"]\n' + HEAD,
    ],
    ids=range(7),
)
def test_a_hostile_head_does_not_load(head: str) -> None:
    with pytest.raises(BadPolicy):
        parse_bundle({"bundle.toml": head, "rules.toml": rule("a", "ALLOW")}, "test")


def test_bundles_that_build_on_each_other_without_end_do_not_load() -> None:
    def find(name: str) -> tuple[dict[str, str], str]:
        number = int(name[1:])
        head = f'name = "{name}"\nextends = ["b{number + 1}"]\n'
        return {"bundle.toml": head, "rules.toml": ""}, name

    own = {"bundle.toml": 'name = "b0"\nextends = ["b1"]\n' + HEAD.split("\n", 2)[2], "rules.toml": rule("a", "ALLOW")}
    with pytest.raises(BadPolicy, match="more than 16 bundles"):
        parse_bundle(own, "b0", find=find)


def test_hostile_tables_do_not_load() -> None:
    row = '[[cases]]\nname = "n"\ntool = "Read"\nverdict = "DENY"\n'
    for more in ("args = " + "{a=" * 5_000, "grants = [1]", "evidence = { a = { b = 1 } }", "now = nan", row + "x = 1"):
        with pytest.raises(BadPolicy):
            parse_cases(row + more, "t.cases.toml")


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_a_pattern_that_is_slow_elsewhere_is_not_slow_here(pattern: str) -> None:
    loaded = bundle(rule("a", "ALLOW", f'args.s.matches("{pattern}")'))
    assert decide(loaded, ask({"s": "a" * 400_000 + "!"})).verdict is Verdict.DENY


def around() -> Json:
    value: dict[str, Json] = {}
    value["x"] = value
    return value


FACTS: list[tuple[str, Json]] = [
    ("evidence", {"change_record": {"ref": "a" * 1_000_000}}),
    ("evidence", {str(number): {"ref": ""} for number in range(100_000)}),
    ("evidence", {"change_record": {"ref": "\ud800"}}),
    ("evidence", {"change_record": {"ref": 2**60}}),
    ("evidence", {"change_record": around()}),
    ("evidence", {"change_record": None}),
    ("evidence", {"change_record": "x"}),
    ("evidence", ["change_record"]),
    ("evidence", None),
    ("grants", tuple(GrantFacts(f"g{n}", "ask", "Read", "run", "", "9", 1, "ana") for n in range(20_000))),
    ("grants", (GrantFacts("g", "ask", "Read", "run", "a" * 1_000_000, "9", 1, "ana"),)),
    ("now", "yesterday"),
    ("now", "9" * 1_000_000),
    ("blueprint", around()),
]


@pytest.mark.parametrize(("name", "value"), FACTS, ids=[f"{name}-{at}" for at, (name, _) in enumerate(FACTS)])
def test_hostile_facts_are_denied(name: str, value: Json) -> None:
    reads = "size(evidence.change_record.ref) > 0 && size(grants) > 0 && timestamp(now).getHours() >= 0"
    loaded = bundle(rule("ask", "ALLOW", reads + " && size(blueprint) > 0"))
    held = {"change_record": {"ref": "CHG-1", "digest": "", "by": "ana", "at": ""}}
    grants = (GrantFacts("g", "x", "Read", "run", "", "9", 1, "ana"),)
    good = dataclasses.replace(ask(), evidence=held, grants=grants)
    assert decide(loaded, good).allowed
    hostile: dict[str, Any] = {name: value}
    decision = decide(loaded, dataclasses.replace(good, **hostile))
    if name == "grants" and len(value) == 1:
        assert decision.reason is Reason.INPUT_TOO_LARGE
    assert decision.verdict is Verdict.DENY
    assert decision.reason in (Reason.POLICY_ERROR, Reason.INPUT_TOO_LARGE, Reason.SCHEMA_VIOLATION)
    assert len(decision.message) < 300
    canonical_bytes(decision.inputs)


OWN: Json = {
    "tool": "egress",
    "verdict": "ALLOW",
    "evidence": {"change_record": {"ref": "CHG-1"}},
    "grants": [{"id": "g", "rule": "ask", "tool": "Read", "uses_left": 9}],
    "effect_class": "read",
    "agent": {"depth": 0},
    "__class__": "Decision",
    "inputs": {"now": "2000"},
}


def test_arguments_that_look_like_our_own_fields_are_arguments() -> None:
    rules = rule("lacks", "DENY", '!("change_record" in evidence)', more='reason_code = "EVIDENCE_REQUIRED"')
    rules += rule("ask", "ESCALATE", "size(args) > 0 && size(grants) == 0 && agent.depth == 1") + rule("rest", "DENY")
    loaded = bundle(rules)
    assert decide(loaded, ask(OWN)).reason is Reason.EVIDENCE_REQUIRED
    held = {"change_record": {"ref": "CHG-1"}}
    decision = decide(loaded, dataclasses.replace(ask(OWN), evidence=held))
    assert (decision.verdict, decision.rule_ids, decision.grant) == (Verdict.ESCALATE, ("ask",), "")
    assert decision.inputs["tool"] == "Read"
    assert decision.inputs["args"] == OWN
