"""Grants in a decision. A grant turns the ESCALATE of one rule about one tool into ALLOW, where its pattern is true, it
has not expired and has uses left. It is never asked about anything else, and an error in its pattern is no match."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from app.domain.bounds import Refusal, Size, measure
from app.domain.canonical import Json
from app.domain.expressions import (
    ENGINE,
    MAX_SOURCE,
    MAX_STEPS,
    BadExpression,
    Chain,
    Condition,
    Engine,
    compile_condition,
)
from app.domain.policy_inputs import Source, all_reads, grant_values, of_record, of_request
from app.domain.standing import Grant
from app.domain.verdict import ApprovalTerms, EffectClass, GrantFacts, Request, Risk

MAX_TRIED: Final = 50
MAX_WORK: Final = 2**29
_ALWAYS: Final = Condition("true", {}, 0)
_MAX_KEPT: Final = 512
_TEXTS: Final = ("id", "rule", "tool", "scope", "pattern", "expires", "by")


def grantable(terms: ApprovalTerms, risk: Risk, pattern: str) -> bool:
    """Whether a grant may stand in for an answer to such a question: never for a ceremony, and for what cannot be taken
    back only where its pattern says which calls are meant."""
    return terms.plain and (risk is not Risk.IRREVERSIBLE or pattern != "")


def grant_facts(grant: Grant) -> GrantFacts:
    """A grant as the policy sees it now."""
    return GrantFacts(
        id=grant.id,
        rule=grant.rule,
        tool=grant.tool,
        scope=grant.scope,
        pattern=grant.pattern,
        expires=grant.expires,
        uses_left=grant.left,
        by=grant.by,
    )


def compile_pattern(source: str, engine: Engine = ENGINE) -> Condition:
    """A person's pattern, checked against every bound that holds for a rule's condition; "" is always true.

    Raises BadExpression with line and column.
    """
    if not source:
        return _ALWAYS
    condition = compile_condition(source, engine)
    if "grants" in condition.reads:
        raise BadExpression(1, 1, "a pattern cannot read 'grants'")
    return condition


def matches_pattern(pattern: Condition, request: Request, effect: EffectClass, engine: Engine = ENGINE) -> bool:
    """Whether a pattern is true for a call; an error, or a call past the bounds, is no match."""
    if not isinstance(request.args, dict) or isinstance(measure(request.args), Refusal):
        return False
    return _true(_chain(pattern.source, engine), of_request(request, effect)(pattern.reads))


def work(depth: int, size: Size) -> int:
    """The most text that conditions with macros can go through: every step may look at all of it."""
    return int(min(max(size.elements, 1) ** depth, MAX_STEPS) * size.bytes) if depth else 0


def considered(grants: tuple[GrantFacts, ...], rule: str, tool: str, now: str) -> list[GrantFacts]:
    """The grants that are tried for a question of this rule about this tool, in order of id."""
    live = [g for g in grants if (g.rule, g.tool) == (rule, tool) and g.uses_left > 0 and g.expires > now]
    return sorted(live, key=lambda grant: grant.id)[:MAX_TRIED]


def try_grants(tried: list[GrantFacts], source: Source, engine: Engine) -> tuple[str, dict[str, Json]]:
    """The id of the first grant whose pattern is true ("" for none), and all that was looked at to say so."""
    conditions = [_compiled(grant.pattern, engine) for grant in tried]
    looked = source({**all_reads(conditions), "now": None})
    looked["grants"] = grant_values(tried)
    if isinstance(measure(looked), Refusal):
        return "", {}
    held = of_record(looked)
    for grant, condition in zip(tried, conditions, strict=True):
        if condition is not None and _true(_chain(condition.source, engine), held(condition.reads)):
            return grant.id, looked
    return "", looked


def recorded_grants(inputs: Mapping[str, Json]) -> tuple[GrantFacts, ...]:
    """The grants that recorded inputs name; one that is not whole is none."""
    rows = inputs.get("grants")
    found = (_recorded(row) for row in rows) if isinstance(rows, list) else ()
    return tuple(grant for grant in found if grant is not None)


def _recorded(row: Json) -> GrantFacts | None:
    if not isinstance(row, dict) or type(row.get("uses_left")) is not int:
        return None
    if not all(isinstance(row.get(name), str) for name in _TEXTS):
        return None
    return GrantFacts(**{name: row[name] for name in GrantFacts.__slots__})


def _true(chain: Chain, inputs: Json) -> bool:
    size = measure(inputs)
    if isinstance(size, Refusal) or work(chain.depth, size) > MAX_WORK:
        return False
    return chain.first(inputs, size.elements) == (0, None)


@lru_cache(maxsize=_MAX_KEPT)
def _compiled(source: str, engine: Engine) -> Condition | None:
    if len(source) > MAX_SOURCE:
        return None
    try:
        return compile_pattern(source, engine)
    except BadExpression:
        return None


@lru_cache(maxsize=_MAX_KEPT)
def _chain(source: str, engine: Engine) -> Chain:
    return Chain([compile_pattern(source, engine)], engine)
