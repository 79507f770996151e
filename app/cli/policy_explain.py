"""`helm policy explain`: why a recorded call got its verdict, from the inputs that the log holds and the rules that
were in force. Rules that were changed since explain nothing, and that is said."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from app.adapters.policies import load_library, rule_lines
from app.cli.exits import USAGE, Failure
from app.cli.output import out, print_json, safe, styled
from app.cli.policy_log import Json, open_log
from app.domain.errors import BadPolicy
from app.domain.events import Event
from app.domain.payloads import IntentRecorded, VerdictGiven
from app.domain.policy import Bundle
from app.domain.policy_explain import Step
from app.domain.policy_explain import explain as explain_inputs
from app.domain.reasons import Reason
from app.settings import Settings, read_settings

_LINES: Final = 40


def explain(
    receipt: Annotated[str, typer.Argument(help="A receipt's id, or its number in the log: '#7' or 7.")],
    as_json: Json = False,
) -> None:
    """Why a call got its verdict: the rule with its lines, what it read, and why earlier rules did not match."""
    settings = read_settings(os.environ)
    intent, verdict, answer = asyncio.run(_find_verdict(settings, receipt))
    document = _explained(settings, intent, verdict, answer)
    if as_json:
        print_json(document)
    else:
        out().print(_explain_words(document))


async def _find_verdict(settings: Settings, receipt: str) -> tuple[Event, Event, Event | None]:
    """The intent, the policy's own verdict on it, and the verdict that a person's answer gave, where it is the one that
    was asked for. Any receipt of the action names them."""
    async with open_log(settings) as reader:
        number = receipt.removeprefix("#")
        key: str | int = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else receipt
        found = await reader.event(key)
        if found is None:
            raise Failure(f"there is no receipt {receipt[:100]!r} in {settings.database}", USAGE)
        if found.kind == "intent":
            following = await reader.events(after=found.seq, run=found.run, limit=1)
            found = next((event for event in following if event.refs.get("intent") == found.id), found)
        elif found.kind != "verdict" and "verdict" in found.refs:
            found = await reader.event(found.refs["verdict"]) or found
        if not isinstance(found.payload, VerdictGiven):
            raise Failure(f"#{found.seq} is a receipt of kind {found.kind!r}; no verdict belongs to it", USAGE)
        answer = found if "supersedes" in found.refs else None
        verdict = await reader.event(found.refs["supersedes"]) if answer is not None else found
        intent = await reader.event(found.refs["intent"])
        if verdict is None or intent is None:
            raise Failure(f"what #{found.seq} refers to is not in the log; check it: helm verify-log")
        return intent, verdict, answer


def _explained(settings: Settings, intent: Event, verdict: Event, answer: Event | None) -> dict[str, Any]:
    asked, given = intent.payload, verdict.payload
    assert isinstance(asked, IntentRecorded) and isinstance(given, VerdictGiven)  # noqa: S101 - narrowed by _find_verdict
    inputs = json.loads(verdict.content("inputs") or b"null")
    bundle, texts, note = _bundle_of(settings, given.policy_digest)
    note = _outside_rules(given) or note
    steps = explain_inputs(bundle, inputs) if bundle and not note and isinstance(inputs, dict) else []
    reason = Reason(given.reason_code) if given.reason_code in set(Reason) else None
    return {
        "seq": verdict.seq,
        "receipt_id": verdict.id,
        "run": verdict.run,
        "tool": asked.tool,
        "target": asked.target,
        "decision": given.decision,
        "reason_code": given.reason_code,
        "meaning": reason.meaning if reason else "",
        "remedy": reason.remedy if reason else "",
        "message": given.message,
        "rule_ids": list(given.rule_ids),
        "risk": given.risk,
        "policy_digest": given.policy_digest,
        "evaluator": given.evaluator,
        "inputs": inputs,
        "bundle": bundle.name if bundle else "",
        "note": note,
        "steps": [_step_json(step, texts) for step in steps],
        "answer": _answer_json(answer) if answer is not None else None,
    }


def _outside_rules(given: VerdictGiven) -> str:
    """Where no rule had a say: who refused. Empty where the rules were asked."""
    if not given.evaluator.startswith("helm-policy/"):
        return "It was refused by the gate itself, whatever the policy said."
    if not given.rule_ids and given.reason_code != Reason.NO_RULE_MATCHED:
        return "It was refused before any rule was asked."
    return ""


def _bundle_of(settings: Settings, digest: str) -> tuple[Bundle | None, dict[str, str], str]:
    """The loaded bundle with exactly this text. Rules that have changed since cannot explain what was."""
    try:
        library = load_library(settings.policies)
    except BadPolicy as error:
        return None, {}, f"The policies do not load, so no rule can be shown: {error.message}"
    for bundle in library.bundles():
        if bundle.digest == digest:
            return bundle, dict(library.texts[bundle.name]), ""
    return None, {}, f"No bundle in {settings.policies} has this text any more: the rules were changed since."


def _step_json(step: Step, texts: dict[str, str]) -> dict[str, Any]:
    rule = step.rule
    return {
        "rule": rule.id,
        "file": rule.file,
        "line": rule.line,
        "says": step.says,
        "when": rule.when.source.strip() if rule.when is not None else "",
        "not_true": list(step.parts),
        "text": [line for _, line in rule_lines(texts.get(rule.file, ""), rule.line)],
    }


def _answer_json(answer: Event) -> dict[str, Any]:
    given = answer.payload
    assert isinstance(given, VerdictGiven)  # noqa: S101 - narrowed by _find_verdict
    return {
        "seq": answer.seq,
        "decision": given.decision,
        "reason_code": given.reason_code,
        "message": given.message,
    }


def _explain_words(facts: dict[str, Any]) -> Text:
    text = Text()
    text.append(f"#{facts['seq']} {safe(facts['tool'], 100)}  {safe(facts['target'], 120)}\n")
    text.append_text(styled(facts["decision"]))
    by = f"rule {safe(', '.join(facts['rule_ids']))}" if facts["rule_ids"] else "no rule"
    text.append(f" {safe(facts['reason_code'])} by {by} (risk {safe(facts['risk'])})\n")
    for line in (facts["message"], facts["remedy"], facts["note"]):
        if line:
            text.append(f"  {safe(line, 400)}\n", style="dim" if line == facts["remedy"] else "")
    if facts["answer"]:
        answer = facts["answer"]
        text.append(f"Then, at #{answer['seq']}: {safe(answer['decision'])} {safe(answer['reason_code'])}\n")
    for step in facts["steps"]:
        text.append_text(_step_words(step))
    text.append("What the rules read:\n", style="bold")
    for line in json.dumps(facts["inputs"], indent=2, ensure_ascii=False).split("\n")[:_LINES]:
        text.append(f"  {safe_line(line)}\n")
    text.right_crop(1)
    return text


def _step_words(step: dict[str, Any]) -> Text:
    text = Text()
    place = f"{safe(step['file'])}:{step['line']}"
    style = {"matched": "bold", "failed": "red"}.get(step["says"], "dim")
    text.append(f"{step['says']:>12}  {safe(step['rule'])}  ({place})\n", style=style)
    if step["says"] == "not matched":
        for part in step["not_true"] or [step["when"]]:
            text.append(f"{'':14}not true: {safe(part, 300)}\n", style="dim")
        return text
    for line in step["text"]:
        text.append(f"{'':14}{safe_line(line)}\n")
    return text


def safe_line(line: str) -> str:
    """A line with its indentation, without anything that could steer a terminal."""
    indent = len(line) - len(line.lstrip(" "))
    return " " * indent + safe(line, 300)
