"""A policy bundle as text: TOML under a closed schema. Every error names file, line and reason; that of a condition
also names the column. A bundle that does not load is not used, and the server does not start with it. Bundles build on
each other by `extends`, in an order that is written down: nothing of one silently replaces something of another."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from app.domain.canonical import canonical_bytes
from app.domain.errors import BadPolicy
from app.domain.expressions import ENGINE, BadExpression, Condition, Engine, compile_condition
from app.domain.policy import HEALTH_CHECK, OBLIGATIONS, Bundle, Rule, ToolGlob, tool_glob
from app.domain.reasons import Reason
from app.domain.toml_text import Table, read_toml
from app.domain.verdict import DEFAULT_TIMEOUT_S, ApprovalTerms, EffectClass, Risk, Verdict

HEAD: Final = "bundle.toml"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_GLOB: Final = re.compile(r"[A-Za-z0-9_.:/*-]{1,200}")
_FILE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\.toml")
_NOT_A_DENIAL: Final = frozenset({Reason.ALLOW, Reason.APPROVED, Reason.APPROVAL_REQUIRED})
MAX_STARS: Final = 4
MAX_TIMEOUT_S: Final = 30 * 24 * 3600
MAX_QUORUM: Final = 9
MAX_BUNDLES: Final = 16
ROLES: Final = ("owner", "approver")
_RULE_KEYS: Final = (
    *("id", "tools", "when", "verdict", "reason_code", "message", "risk"),
    *("timeout", "approval", "obligations"),
)


def bundle_digest(files: Mapping[str, str]) -> str:
    """`sha256:` over the canonical listing of a bundle's files: path, size and sha256 of each, in order of path."""
    listing = []
    for path in sorted(files):
        data = files[path].encode("utf-8")
        listing.append({"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)})
    return "sha256:" + hashlib.sha256(canonical_bytes(listing)).hexdigest()


def change_digest(before: Mapping[str, str], after: Mapping[str, str], root: str) -> str:
    """`sha256:` over the canonical listing of the files that differ: path (from `root` on), sha256 before and after,
    null where there was or is none."""
    listing = []
    for path in sorted({*before, *after}):
        old, new = (
            hashlib.sha256(files[path].encode("utf-8")).hexdigest() if path in files else None
            for files in (before, after)
        )
        if old != new:
            listing.append({"path": path[max(path.rfind("/" + root), 0) :].lstrip("/"), "before": old, "after": new})
    return "sha256:" + hashlib.sha256(canonical_bytes(listing)).hexdigest()


@dataclass(frozen=True, slots=True)
class Part:
    """One folder's own text: its rules and tools, and the bundles that it builds on, which stand after its own rules
    (`position` "before") or in front of them ("after")."""

    name: str
    title: str
    description: str
    where: str
    files: Mapping[str, str]
    extends: tuple[str, ...]
    position: str
    rules: tuple[Rule, ...]
    tools: tuple[tuple[ToolGlob, EffectClass, tuple[str, int, int]], ...]
    health_checks: tuple[ToolGlob, ...]
    head: Table


Find: TypeAlias = Callable[[str], tuple[Mapping[str, str], str] | None]


def parse_bundle(
    files: Mapping[str, str], where: str, engine: Engine = ENGINE, find: Find = lambda name: None
) -> Bundle:
    """The bundle whose files are given by name; `where` is its folder as errors show it, and `find` gives the files and
    the folder of a bundle that it extends. Raises BadPolicy."""
    own = parse_part(files, where, engine)
    parts = _ordered(own, engine, find, (), {})
    rules = _joined_rules(parts)
    if not rules:
        own.head.refuse("rules", "the bundle has no rule: it would refuse everything")
    tools = _joined_tools(sorted(parts, key=lambda part: part is not own))
    if not tools:
        own.head.table("tools").refuse(None, "[tools] is missing: every tool that is not declared there is refused")
    health_checks = tuple(dict.fromkeys(glob for part in parts for glob in part.health_checks))
    _check_obligations(rules, health_checks)
    return Bundle(
        name=own.name,
        title=own.title,
        description=own.description,
        digest=bundle_digest(_all_files(own, parts)),
        rules=rules,
        tools=tuple((glob, effect) for glob, effect, _ in tools),
        engine=engine,
        health_checks=health_checks,
        tool_places={glob.text: place for glob, _, place in tools},
    )


def parse_part(files: Mapping[str, str], where: str, engine: Engine = ENGINE) -> Part:
    """One folder's own text. Raises BadPolicy."""
    if HEAD not in files:
        raise BadPolicy(f"{where}/{HEAD}:1: the file is missing")
    head = read_toml(files[HEAD], f"{where}/{HEAD}")
    head.closed("name", "title", "description", "rules", "tools", "health_checks", "extends", "position")
    name = head.word("name", _NAME, "lower-case letters, digits and hyphens, at most 63")
    extends = head.strings("extends", (), most=10)
    for base in extends:
        if _NAME.fullmatch(base) is None or extends.count(base) > 1:
            head.refuse("extends", f"{base[:63]!r} is not the name of a bundle, or is named twice")
    if head.has("position") and not extends:
        head.refuse("position", "'position' belongs to 'extends'")
    rules: list[Rule] = []
    for part in _parts(head):
        if part not in files:
            head.refuse("rules", f"the file {part!r} is not in the bundle")
        _read_rules(read_toml(files[part], f"{where}/{part}"), rules, engine)
    for unused in sorted(set(files) - {HEAD, *_parts(head)}):
        raise BadPolicy(f"{where}/{unused}:1: the file is not named under 'rules' in {HEAD}")
    return Part(
        name=name,
        title=head.text("title", name),
        description=head.text("description", "", limit=2000, empty=True),
        where=where,
        files=files,
        extends=extends,
        position=head.choice("position", ["before", "after"], "before"),
        rules=tuple(rules),
        tools=_effects(head.table("tools")),
        health_checks=_health_checks(head.table("health_checks")),
        head=head,
    )


def _ordered(part: Part, engine: Engine, find: Find, above: tuple[str, ...], seen: dict[str, str]) -> list[Part]:
    """A part and all that it builds on, in the order of their rules. Each bundle is taken once: a circle, or two ways
    to the same one, would leave the order to chance."""
    seen[part.name] = above[-1] if above else ""
    bases: list[Part] = []
    for name in part.extends:
        if name == part.name or name in above:
            part.head.refuse("extends", f"a circle: {' > '.join((*above, part.name, name))}")
        if name in seen:
            part.head.refuse("extends", f"{name!r} is reached twice: by {seen[name]!r} and by {part.name!r}")
        if len(seen) >= MAX_BUNDLES:
            part.head.refuse("extends", f"more than {MAX_BUNDLES} bundles build on each other")
        found = find(name)
        if found is None:
            part.head.refuse("extends", f"there is no bundle {name!r}")
        base = parse_part(*found, engine)
        if base.name != name:
            base.head.refuse("name", f"the bundle is named {base.name!r}, and its folder {name!r}")
        bases += _ordered(base, engine, find, (*above, part.name), seen)
    return [part, *bases] if part.position == "before" else [*bases, part]


def _joined_rules(parts: list[Part]) -> tuple[Rule, ...]:
    known: dict[str, Rule] = {}
    for rule in (rule for part in parts for rule in part.rules):
        other = known.setdefault(rule.id, rule)
        if other is not rule:
            raise BadPolicy(
                f"{rule.file}:{rule.line}: the rule {rule.id!r} exists already, at {other.file}:{other.line}"
            )
    return tuple(known.values())


def _joined_tools(parts: list[Part]) -> list[tuple[ToolGlob, EffectClass, tuple[str, int, int]]]:
    """The first glob that fits counts, and a bundle's own stand first. An own glob may narrow an extended one; to take
    it over whole, with another effect, is refused."""
    joined: list[tuple[ToolGlob, EffectClass, tuple[str, int, int]]] = []
    for part in parts:
        before = list(joined)
        for glob, effect, place in part.tools:
            other = next((row for row in before if row[0].pattern.fullmatch(glob.text)), None)
            if other is not None and other[1] is not effect:
                at, there = (f"{file}:{line}" for file, line, _ in (other[2], place))
                words = (
                    f"{other[0].text!r} is {other[1]} here and takes over {glob.text!r}, which is {effect} at {there}"
                )
                raise BadPolicy(f"{at}: {words}; name the tools that differ one by one")
            if other is None or other[0].text != glob.text:
                joined.append((glob, effect, place))
    return joined


def _check_obligations(rules: tuple[Rule, ...], health_checks: tuple[ToolGlob, ...]) -> None:
    """A duty that no tool can do would stop a run for good."""
    for rule in rules:
        if HEALTH_CHECK in rule.obligations and not health_checks:
            words = (
                f"the rule {rule.id!r} asks for a {HEALTH_CHECK}, and no bundle names the tools under [health_checks]"
            )
            raise BadPolicy(f"{rule.file}:{rule.line}: {words}")


def _all_files(own: Part, parts: list[Part]) -> dict[str, str]:
    """Everything that the digest covers: the own files by name, those of other bundles below the bundle's name."""
    files = dict(own.files)
    for part in parts:
        if part is not own:
            files |= {f"{part.name}/{name}": text for name, text in part.files.items()}
    return files


def _parts(head: Table) -> tuple[str, ...]:
    parts = head.strings("rules", ("rules.toml",), most=50)
    for part in parts:
        if _FILE.fullmatch(part) is None or part == HEAD or parts.count(part) > 1:
            head.refuse("rules", f"{part!r} is not the name of a rules file, or is named twice")
    return parts


def _effects(table: Table) -> tuple[tuple[ToolGlob, EffectClass, tuple[str, int, int]], ...]:
    effects = []
    for name in table.data:
        spot = table.spot(name)
        place = (table.file, spot.line, 1)
        effects.append(
            (_glob(table, name, name), EffectClass(table.choice(name, [str(e) for e in EffectClass])), place)
        )
    return tuple(effects)


def _health_checks(table: Table) -> tuple[ToolGlob, ...]:
    table.closed("tools")
    return tuple(_glob(table, "tools", text) for text in table.strings("tools", (), most=50))


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
    row.closed(*_RULE_KEYS)
    verdict = Verdict(row.choice("verdict", [str(v) for v in Verdict]))
    return Rule(
        id=row.word("id", _NAME, "lower-case letters, digits and hyphens, at most 63"),
        tools=tuple(_glob(row, "tools", text) for text in row.strings("tools")),
        verdict=verdict,
        when=_condition(row, engine) if row.has("when") else None,
        reason=_reason(row, verdict) if row.has("reason_code") else None,
        message=row.text("message", "", limit=300, empty=True),
        risk=Risk(row.choice("risk", [str(r) for r in Risk], "low" if verdict is Verdict.ALLOW else "medium")),
        terms=_terms(row, verdict),
        obligations=_obligations(row, verdict),
        file=row.file,
        line=row.spot(None).line,
    )


def _obligations(row: Table, verdict: Verdict) -> tuple[str, ...]:
    names = row.strings("obligations", (), most=len(OBLIGATIONS))
    for name in names:
        if name not in OBLIGATIONS:
            row.refuse("obligations", f"unknown obligation {name[:63]!r}; known: {', '.join(OBLIGATIONS)}")
    if names and verdict is Verdict.DENY:
        row.refuse("obligations", "what is refused leaves no obligation")
    return names


def _terms(row: Table, verdict: Verdict) -> ApprovalTerms:
    """The ceremony of an ESCALATE: the table `approval`, or `timeout` alone as its short form."""
    for key in ("timeout", "approval"):
        if row.has(key) and verdict is not Verdict.ESCALATE:
            row.refuse(key, f"{key!r} belongs to ESCALATE only")
    if row.has("timeout") and row.has("approval"):
        row.refuse("timeout", "'timeout' is the short form of 'approval': write it inside of that table")
    table = row.table("approval") if row.has("approval") else row
    if table is not row:
        table.closed("timeout", "quorum", "delay", "proof", "roles", "not_requester")
    roles = table.strings("roles", (), most=len(ROLES))
    if any(role not in ROLES or roles.count(role) > 1 for role in roles):
        table.refuse("roles", f"'roles' holds {' or '.join(ROLES)}, each once")
    timeout = table.integer("timeout", DEFAULT_TIMEOUT_S, low=1, high=MAX_TIMEOUT_S)
    return ApprovalTerms(
        timeout_s=timeout,
        quorum=table.integer("quorum", 1, low=1, high=MAX_QUORUM),
        delay_s=table.integer("delay", 0, high=timeout - 1),
        proof="key" if table.choice("proof", ["none", "key"], "none") == "key" else "none",
        roles=roles,
        not_requester=table.flag("not_requester", False),
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
