"""`helm policy` as a process, on real bundles and on a real log."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from app.domain.canonical import canonical_bytes
from app.domain.content import JSON, Content
from app.domain.events import Draft
from app.domain.ids import SYSTEM_RUN
from app.domain.payloads_log import ToolPinned
from app.settings import ROOT

from tests.cli.kit import Ended, helm
from tests.house import MAIL, house

CALLS: list[tuple[str, Any]] = [
    ("Read", {"file_path": "/workspace/a"}),
    ("Bash", {"command": "rm -rf /"}),
    ("Bash", {"command": "ls -la"}),
    ("mcp__github__get_me", {}),
    ("NoTool", {"a": "b"}),
    ("Read", {"file_path": "/workspace/a", "n": 2**60}),
]
MAIL_TOOL = {"description": "Sends.", "input_schema": {"properties": {"to": {"type": "string"}}}}
PIN = ToolPinned(
    "mail", "send_email", "pinned", "sha256:" + "0" * 64, Content.of(canonical_bytes(MAIL_TOOL), JSON), "system"
)
STRICT = """
name = "strict"
[tools]
Read = "read"
Bash = "execute"
NoTool = "read"
"mcp__*" = "write"
"""
RULES = """
[[rules]]
id = "small"
tools = ["Read", "NoTool"]
when = "!has(args.a) || size(args.a) < 5"
verdict = "ALLOW"

[[rules]]
id = "no-shell"
tools = ["Bash"]
when = 'run.no >= 1 && agent.depth == 0 && budget.cap > budget.spent && blueprint.name == "market-brief"'
verdict = "DENY"
message = "No shell."

[[rules]]
id = "mail"
tools = ["mcp__*"]
when = 'has(args.to) && args.to.endsWith("@example.com")'
verdict = "ALLOW"

[[rules]]
id = "rest"
tools = ["mcp__*"]
verdict = "ESCALATE"
message = "Ask."
"""


async def _story(home: Path) -> dict[str, int]:
    """A log with one run; the seq of each verdict by its call."""
    async with house(home) as world, asyncio.timeout(30):
        run = await world.start()
        for number, (tool, args) in enumerate(CALLS):
            await world.services.tool_calls.ask(run.id, world.hook(tool, args, f"t{number}"))
        asked = asyncio.create_task(
            world.services.tool_calls.ask(run.id, world.hook("mcp__mail__send_email", MAIL, "mail"))
        )
        await world.answer((await world.waiting(run.id))[0].approval, "deny", by="ana", reason="no")
        await asked
        await world.ledger.record(SYSTEM_RUN, Draft(PIN))
        events = await world.ledger.read.events(run=run.id)
        verdicts = [event for event in events if event.kind == "verdict"]
        return {"run": run.no, **{f"v{number}": event.seq for number, event in enumerate(verdicts)}}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    home = tmp_path_factory.mktemp("log") / "home"
    home.mkdir(mode=0o700)
    return home, asyncio.run(_story(home))


def _strict(folder: Path, rules: str = RULES) -> Path:
    (folder / "strict").mkdir()
    (folder / "strict" / "bundle.toml").write_text(STRICT)
    (folder / "strict" / "rules.toml").write_text(rules)
    return folder / "strict"


def test_the_shipped_bundles_are_well_and_answer_as_their_tables_say(tmp_path: Path) -> None:
    found = helm(tmp_path / "home", "policy", "lint", "--strict", "--json")
    assert (found.code, found.document["findings"]) == (0, [])
    checked = helm(tmp_path / "home", "policy", "test", "default", "--json")
    assert (checked.code, checked.document["ok"]) == (0, True)
    assert checked.document["bundles"][0]["rows"] > 100


def test_lint_names_line_and_column_and_says_no(tmp_path: Path) -> None:
    path = _strict(tmp_path, RULES + '[[rules]]\nid = "late"\ntools = ["mcp__x__y"]\nverdict = "DENY"\n')
    found = helm(tmp_path / "home", "policy", "lint", str(path))
    assert found.code == 1
    assert f"{path}/rules.toml:26:1: error UNREACHABLE: rule 'late': it can never decide: rule 'rest'" in found.out
    (path / "rules.toml").write_text('[[rules]]\nid = "a"\ntools = ["Read"]\nverdict = "DENY"\nwhen = "args.x ="\n')
    broken = helm(tmp_path / "home", "policy", "lint", str(path), "--json")
    assert broken.code == 1
    assert [(f["line"], f["column"] > 1, f["code"]) for f in broken.document["findings"]] == [(5, True, "LOAD")]


def test_lint_checks_conditions_against_schemas(tmp_path: Path) -> None:
    rules = '[[rules]]\nid = "a"\ntools = ["Bash"]\nwhen = "has(args.comand)"\nverdict = "DENY"\n' + RULES
    path = _strict(tmp_path, rules)
    schemas = tmp_path / "schemas.json"
    schemas.write_text('{"Bash": {"properties": {"command": {"type": "string"}}, "additionalProperties": false}}')
    found = helm(tmp_path / "home", "policy", "lint", str(path), "--schemas", str(schemas))
    assert found.code == 1
    assert f"{path}/rules.toml:4:13: error UNKNOWN_ARGUMENT: rule 'a': args.comand" in found.out
    shipped = helm(tmp_path / "home", "policy", "lint", str(path))
    assert f"{path}/rules.toml:4:13: warning UNKNOWN_ARGUMENT: rule 'a': args.comand" in shipped.out
    schemas.write_text("[]")
    assert helm(tmp_path / "home", "policy", "lint", str(path), "--schemas", str(schemas)).code == 2
    assert helm(tmp_path / "home", "policy", "lint", str(path), "--from-log").code == 2


def test_lint_takes_the_schemas_that_are_pinned_in_the_log(story: tuple[Path, dict[str, int]], tmp_path: Path) -> None:
    rules = '[[rules]]\nid = "a"\ntools = ["mcp__mail__send_email"]\nwhen = "has(args.too)"\nverdict = "DENY"\n' + RULES
    path = _strict(tmp_path, rules)
    found = helm(story[0], "policy", "lint", str(path), "--from-log")
    assert f"{path}/rules.toml:4:13: warning UNKNOWN_ARGUMENT: rule 'a': args.too" in found.out


def test_a_row_that_is_answered_otherwise_is_shown_with_expected_and_got(tmp_path: Path) -> None:
    path = _strict(tmp_path)
    row = '[[cases]]\nname = "mail"\ntool = "mcp__m__send"\nargs = { to = "a@b.c" }\nverdict = "ALLOW"\nrule = "mail"\n'
    (path / "strict.cases.toml").write_text(row)
    ended = helm(tmp_path / "home", "policy", "test", str(path))
    assert ended.code == 1
    assert "strict.cases.toml:1: 'mail' expected ALLOW by mail, got ESCALATE by rest (cel-expr-python" in ended.out
    assert "(cel-python/" in ended.out
    document = helm(tmp_path / "home", "policy", "test", str(path), "--json").document
    assert document["bundles"][0]["failures"][0]["got"] == {"verdict": "ESCALATE", "rule": "rest"}
    assert helm(tmp_path / "home", "policy", "test", "nothing-of-that-name").code == 2


def _explain(story: tuple[Path, dict[str, int]], receipt: str, *words: str, **more: str) -> Ended:
    return helm(story[0], "policy", "explain", receipt, *words, **more)


def test_explain_shows_the_rule_its_lines_what_it_read_and_why_others_did_not_match(
    story: tuple[Path, dict[str, int]],
) -> None:
    facts = _explain(story, f"#{story[1]['v2']}", "--json").document
    assert (facts["decision"], facts["rule_ids"], facts["bundle"]) == ("ALLOW", ["shell"], "default")
    assert facts["inputs"]["shell"] == {"hazards": [], "unclear": False}
    *before, last = [step["says"] for step in facts["steps"]]
    assert len(before) > 3 and set(before) == {"not matched"} and last == "matched"
    assert facts["steps"][-1]["text"][0] == "[[rules]]"
    shown = _explain(story, facts["receipt_id"]).out
    assert "policies/default/rules.toml:" in shown
    assert "not true:" in shown
    same = _explain(story, str(story[1]["v2"] - 1), "--json").document
    assert same["seq"] == facts["seq"], "the intent leads to its verdict"


def test_explain_blames_no_rule_for_what_was_refused_before_them(story: tuple[Path, dict[str, int]]) -> None:
    for verdict in ("v4", "v5"):
        facts = _explain(story, f"#{story[1][verdict]}", "--json").document
        assert (facts["decision"], facts["rule_ids"], facts["steps"]) == ("DENY", [], [])
        assert facts["note"] == "It was refused before any rule was asked."


def test_explain_tells_the_policys_verdict_and_the_persons_answer_apart(story: tuple[Path, dict[str, int]]) -> None:
    facts = _explain(story, f"#{story[1]['v7']}", "--json").document
    assert (facts["decision"], facts["seq"]) == ("ESCALATE", story[1]["v6"])
    assert (facts["answer"]["decision"], facts["answer"]["reason_code"]) == ("DENY", "APPROVAL_DENIED")


def test_explain_says_when_the_rules_were_changed_since_or_nothing_is_there(
    story: tuple[Path, dict[str, int]], tmp_path: Path
) -> None:
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies)
    with (policies / "default" / "rules.toml").open("a") as file:
        file.write("# changed\n")
    facts = _explain(story, f"#{story[1]['v2']}", "--json", HELM_POLICIES=str(policies)).document
    assert facts["steps"] == []
    assert "changed since" in facts["note"]
    assert _explain(story, "#999999").code == 2
    assert _explain(story, "#0").code == 2
    assert helm(tmp_path / "nowhere", "policy", "explain", "#1").code == 2


def test_backtest_shows_what_another_bundle_would_have_said(story: tuple[Path, dict[str, int]], tmp_path: Path) -> None:
    path = _strict(tmp_path)
    document = helm(story[0], "policy", "backtest", str(path), "--json").document
    assert document["intents"] == len(CALLS) + 1
    rows = {row["seq"]: row for row in document["rows"]}
    new = {name: rows[seq]["new"] for name, seq in story[1].items() if seq in rows}
    assert (new["v2"]["verdict"], new["v2"]["rule"]) == ("DENY", "no-shell")
    assert (new["v3"]["verdict"], new["v3"]["rule"]) == ("ESCALATE", "rest")
    assert (new["v4"]["verdict"], new["v4"]["rule"]) == ("ALLOW", "small")
    assert (new["v6"]["verdict"], new["v6"]["rule"]) == ("ALLOW", "mail"), "from the arguments in the log"
    assert rows[story[1]["v6"]]["rebuilt"] is True
    assert document["not_told"] == [{"why": "refused for its form: SCHEMA_VIOLATION", "count": 1}]
    assert {(c["old"], c["new"]): c["count"] for c in document["changes"]} == {
        ("ALLOW", "DENY"): 1,
        ("ALLOW", "ESCALATE"): 1,
        ("DENY", "ALLOW"): 1,
        ("ESCALATE", "ALLOW"): 1,
    }
    assert document["engines"]["differ_at"] == []
    shown = helm(story[0], "policy", "backtest", str(path))
    assert shown.code == 0
    assert "ESCALATE -> ALLOW" in shown.out


def test_backtest_of_the_same_bundle_changes_nothing(story: tuple[Path, dict[str, int]]) -> None:
    path = str(ROOT / "policies" / "default")
    for words in ([], ["--against", str(story[1]["run"])], ["--since", "2000w"]):
        document = helm(story[0], "policy", "backtest", path, *words, "--json").document
        assert (document["changed"], document["same"]) == (0, len(CALLS)), words
    assert helm(story[0], "policy", "backtest", path, "--against", "99").code == 2
    assert helm(story[0], "policy", "backtest", path, "--since", "soon").code == 2
    assert helm(story[0], "policy", "backtest", path + "-not").code == 2
