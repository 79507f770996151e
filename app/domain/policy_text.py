"""A policy bundle as text: TOML under a closed schema. Every error names file, line and reason; that of a condition
also names the column. A bundle that does not load is not used, and the server does not start with it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from app.domain.canonical import canonical_bytes
from app.domain.errors import BadPolicy
from app.domain.expressions import ENGINE, BadExpression, Condition, Engine, compile_condition
from app.domain.policy import Bundle, Rule, ToolGlob, tool_glob
from app.domain.reasons import Reason
from app.domain.toml_text import Table, read_toml
from app.domain.verdict import DEFAULT_TIMEOUT_S, EffectClass, Risk, Verdict

HEAD: Final = "bundle.toml"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_GLOB: Final = re.compile(r"[A-Za-z0-9_.:/*-]{1,200}")
_FILE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\.toml")
_NOT_A_DENIAL: Final = frozenset({Reason.ALLOW, Reason.APPROVED, Reason.APPROVAL_REQUIRED})
MAX_STARS: Final = 4
MAX_TIMEOUT_S: Final = 30 * 24 * 3600


def bundle_digest(files: Mapping[str, str]) -> str:
    """`sha256:` over the canonical listing of a bundle's files: path, size and sha256 of each, in order of path."""
    listing = []
    for path in sorted(files):
        data = files[path].encode("utf-8")
        listing.append({"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)})
    return "sha256:" + hashlib.sha256(canonical_bytes(listing)).hexdigest()


def parse_bundle(files: Mapping[str, str], where: str, engine: Engine = ENGINE) -> Bundle:
    """The bundle whose files are given by name; `where` is its folder as errors show it. Raises BadPolicy."""
    if HEAD not in files:
        raise BadPolicy(f"{where}/{HEAD}:1: the file is missing")
    head = read_toml(files[HEAD], f"{where}/{HEAD}")
    head.closed("name", "title", "description", "rules", "tools")
    name = head.word("name", _NAME, "lower-case letters, digits and hyphens, at most 63")
    rules: list[Rule] = []
    for part in _parts(head):
        if part not in files:
            head.refuse("rules", f"the file {part!r} is not in the bundle")
        _read_rules(read_toml(files[part], f"{where}/{part}"), rules, engine)
    for unused in sorted(set(files) - {HEAD, *_parts(head)}):
        raise BadPolicy(f"{where}/{unused}:1: the file is not named under 'rules' in {HEAD}")
    if not rules:
        head.refuse("rules", "the bundle has no rule: it would refuse everything")
    return Bundle(
        name=name,
        title=head.text("title", name),
        description=head.text("description", "", limit=2000, empty=True),
        digest=bundle_digest(files),
        rules=tuple(rules),
        tools=_effects(head.table("tools")),
        engine=engine,
    )


def _parts(head: Table) -> tuple[str, ...]:
    parts = head.strings("rules", ("rules.toml",), most=50)
    for part in parts:
        if _FILE.fullmatch(part) is None or part == HEAD or parts.count(part) > 1:
            head.refuse("rules", f"{part!r} is not the name of a rules file, or is named twice")
    return parts


def _effects(table: Table) -> tuple[tuple[ToolGlob, EffectClass], ...]:
    if not table.data:
        table.refuse(None, "[tools] is missing: every tool that is not declared there is refused")
    return tuple(
        (_glob(table, name, name), EffectClass(table.choice(name, [str(e) for e in EffectClass])))
        for name in table.data
    )


def _glob(table: Table, key: str, text: str) -> ToolGlob:
    if _GLOB.fullmatch(text) is None or text.count("*") > MAX_STARS:
        table.refuse(key, f"{text!r} is not a tool's name or glob (letters, digits, _ . : / -, at most {MAX_STARS} *)")
    return tool_glob(text)


def _read_rules(root: Table, rules: list[Rule], engine: Engine) -> None:
    root.closed("rules")
    for row in root.tables("rules"):
        rule = _rule(row, engine)
        if any(other.id == rule.id for other in rules):
            row.refuse("id", f"the rule {rule.id!r} exists already")
        rules.append(rule)


def _rule(row: Table, engine: Engine) -> Rule:
    row.closed("id", "tools", "when", "verdict", "reason_code", "message", "risk", "timeout", "obligations")
    verdict = Verdict(row.choice("verdict", [str(v) for v in Verdict]))
    if row.has("timeout") and verdict is not Verdict.ESCALATE:
        row.refuse("timeout", "'timeout' belongs to ESCALATE only")
    return Rule(
        id=row.word("id", _NAME, "lower-case letters, digits and hyphens, at most 63"),
        tools=tuple(_glob(row, "tools", text) for text in row.strings("tools")),
        verdict=verdict,
        when=_condition(row, engine) if row.has("when") else None,
        reason=_reason(row, verdict) if row.has("reason_code") else None,
        message=row.text("message", "", limit=300, empty=True),
        risk=Risk(row.choice("risk", [str(r) for r in Risk], "low" if verdict is Verdict.ALLOW else "medium")),
        timeout_s=row.integer("timeout", DEFAULT_TIMEOUT_S, low=1, high=MAX_TIMEOUT_S),
        obligations=row.strings("obligations", (), most=20),
        file=row.file,
        line=row.spot(None).line,
    )


def _condition(row: Table, engine: Engine) -> Condition:
    source = row.text("when", limit=4096)
    try:
        return compile_condition(source, engine)
    except BadExpression as error:
        spot = row.spot("when")
        column = error.column + (spot.column - 1 if error.line == 1 else 0)
        at = f"{row.file}:{spot.line + error.line - 1}:{column}"
        raise BadPolicy(f"{at}: rule {row.data.get('id')!r}: {error.reason}") from None


def _reason(row: Table, verdict: Verdict) -> Reason:
    code = Reason(row.choice("reason_code", [str(reason) for reason in Reason]))
    fits = {
        Verdict.ALLOW: code is Reason.ALLOW,
        Verdict.ESCALATE: code is Reason.APPROVAL_REQUIRED,
        Verdict.DENY: code not in _NOT_A_DENIAL,
    }
    if not fits[verdict]:
        row.refuse("reason_code", f"the reason {code} does not fit the verdict {verdict}")
    return code
