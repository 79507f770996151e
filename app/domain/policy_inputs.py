"""What rules and patterns are given to read: out of a request, or out of the inputs that were recorded with a verdict.
Only what is read is taken; what is not among the inputs, the evaluator has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from app.domain.canonical import Json
from app.domain.expressions import Condition
from app.domain.places import file_view
from app.domain.run import Evidence
from app.domain.shell import shell_view
from app.domain.verdict import EffectClass, GrantFacts, Request

Reads: TypeAlias = Mapping[str, frozenset[str] | None]
Source: TypeAlias = Callable[[Reads], dict[str, Json]]


def all_reads(conditions: Iterable[Condition | None]) -> dict[str, frozenset[str] | None]:
    """What several conditions read together: each variable with its fields, None for all of it."""
    reads: dict[str, frozenset[str] | None] = {}
    for condition in conditions:
        for name, fields in (condition.reads if condition is not None else {}).items():
            seen = reads.get(name, frozenset())
            reads[name] = None if fields is None or seen is None else seen | fields
    return reads


def of_request(request: Request, effect: EffectClass) -> Source:
    """Inputs out of a request."""
    return lambda reads: {name: input_value(name, reads[name], request, effect) for name in sorted(reads)}


def of_record(inputs: Mapping[str, Json]) -> Source:
    """Inputs out of recorded ones. What was not recorded is absent, and a rule that reads it cannot be decided."""
    return lambda reads: {name: _part(inputs[name], reads[name]) for name in sorted(reads) if name in inputs}


def input_value(name: str, fields: frozenset[str] | None, request: Request, effect: EffectClass) -> Json:
    """One variable as rules see it: all of it, or the `fields` that they read."""
    return _part(str(effect) if name == "effect_class" else _BUILDERS[name](request), fields)


def grant_values(grants: Iterable[GrantFacts]) -> list[Json]:
    """Grants as rules see them, and as they are recorded."""
    return [{name: getattr(grant, name) for name in GrantFacts.__slots__} for grant in grants]


def evidence_view(held: Mapping[str, Evidence]) -> Json:
    """What is attached to a run as rules see it."""
    return {kind: {"ref": e.ref, "digest": e.digest, "by": e.by, "at": e.ts} for kind, e in held.items()}


def joined_inputs(more: Mapping[str, Json], inputs: Mapping[str, Json]) -> dict[str, Json]:
    """Both together; of a mapping that both hold in part, the fields of both."""
    joined = {**more, **inputs}
    for name in more.keys() & inputs.keys():
        if isinstance(more[name], dict) and isinstance(inputs[name], dict):
            joined[name] = {**more[name], **inputs[name]}
    return joined


def _part(value: Json, fields: frozenset[str] | None) -> Json:
    if fields is None or not isinstance(value, dict):
        return value
    return {key: value[key] for key in sorted(fields) if key in value}


def _run(request: Request) -> Json:
    return {"id": request.run.id, "no": request.run.no, "title": request.run.title}


def _agent(request: Request) -> Json:
    agent = request.agent
    return {"id": agent.id, "type": agent.type, "depth": agent.depth, "path": list(agent.path)}


def _budget(request: Request) -> Json:
    return {"spent": request.budget.spent, "reserved": request.budget.reserved, "cap": request.budget.cap}


_BUILDERS: Final[Mapping[str, Callable[[Request], Json]]] = {
    "tool": lambda request: request.tool,
    "args": lambda request: request.args,
    "run": _run,
    "agent": _agent,
    "blueprint": lambda request: request.blueprint,
    "budget": _budget,
    "now": lambda request: request.now,
    "cwd": lambda request: request.cwd,
    "grade": lambda request: str(request.grade),
    "host": lambda request: request.host,
    "port": lambda request: request.port,
    "egress_listed": lambda request: request.egress_listed,
    "shell": lambda request: shell_view(request.args.get("command"), request.cwd),
    "file": lambda request: file_view(request.args, request.cwd),
    "grants": lambda request: grant_values(request.grants),
    "evidence": lambda request: request.evidence,
}
