"""Ordered rules, first match wins. Whatever is not allowed by a rule is denied: no match, an unknown tool, an error, a
result that is not a boolean and an input past its bounds all end in DENY. The same bundle and the same request give the
same decision, in any process."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from app.domain.bounds import Refusal, Size, measure
from app.domain.canonical import Json
from app.domain.expressions import ENGINE, MAX_STEPS, Chain, Condition, Engine
from app.domain.places import file_view
from app.domain.reasons import Reason
from app.domain.shell import shell_view
from app.domain.shell_script import SHELL_PARSER
from app.domain.verdict import ApprovalTerms, Decision, EffectClass, Request, Risk, Verdict

EVALUATOR: Final = f"helm-policy/1 {ENGINE.name} {SHELL_PARSER}"
MAX_WORK: Final = 2**29
_MAX_PLANS: Final = 2048
_TOOL: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")
_DEFAULT_REASON: Final = {
    Verdict.ALLOW: Reason.ALLOW,
    Verdict.DENY: Reason.POLICY_DENIED,
    Verdict.ESCALATE: Reason.APPROVAL_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class ToolGlob:
    """A tool's name, in which `*` stands for any characters."""

    text: str
    pattern: re.Pattern[str]

    def matches(self, tool: str) -> bool:
        """Whether the glob covers the whole name."""
        return self.pattern.fullmatch(tool) is not None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `when` None is always true; `file` and `line` say where it stands."""

    id: str
    tools: tuple[ToolGlob, ...]
    verdict: Verdict
    when: Condition | None = None
    reason: Reason | None = None
    message: str = ""
    risk: Risk = Risk.MEDIUM
    timeout_s: int = 3600
    obligations: tuple[str, ...] = ()
    file: str = ""
    line: int = 0

    def covers(self, tool: str) -> bool:
        """Whether the rule speaks about this tool."""
        return any(glob.matches(tool) for glob in self.tools)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is decided for one tool: its rules in order, compiled together, and what they read."""

    rules: tuple[Rule, ...]
    chain: Chain
    reads: Mapping[str, frozenset[str] | None]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded policy bundle. `digest` names the exact text that was loaded."""

    name: str
    title: str
    description: str
    digest: str
    rules: tuple[Rule, ...]
    tools: tuple[tuple[ToolGlob, EffectClass], ...]
    engine: Engine = ENGINE
    tool_places: Mapping[str, tuple[str, int, int]] = field(default_factory=dict, compare=False, repr=False)
    _plans: dict[str, _Plan] = field(default_factory=dict, compare=False, repr=False)

    def effect_class(self, tool: str) -> EffectClass | None:
        """What the bundle says a tool does; None when it does not know the tool."""
        return next((effect for glob, effect in self.tools if glob.matches(tool)), None)

    def plan(self, tool: str) -> _Plan:
        """The rules for one tool. Kept per name, up to a bound that a flood of names cannot pass."""
        plan = self._plans.get(tool)
        if plan is None:
            plan = _make_plan(tuple(rule for rule in self.rules if rule.covers(tool)), self.engine)
            if len(self._plans) < _MAX_PLANS:
                self._plans[tool] = plan
        return plan


def tool_glob(text: str) -> ToolGlob:
    """Compile a glob; only `*` is special."""
    return ToolGlob(text, re.compile(".*".join(re.escape(part) for part in text.split("*"))))


def decide(bundle: Bundle, request: Request) -> Decision:
    """The policy's answer to one intent. Never raises for anything that a request can hold; bounded in time."""
    tool = request.tool if _TOOL.fullmatch(request.tool) else ""
    known = bundle.effect_class(tool) if tool else None
    if known is None:
        return _deny(bundle, {"tool": tool}, Reason.DENY_TOOL_NOT_FOUND)
    effect = request.effect_class or known
    refusal = _refuse_args(request.args)
    if refusal is not None:
        return _deny(bundle, {"tool": tool}, refusal.reason, refusal.message, effect)
    plan = bundle.plan(tool)
    inputs = {"tool": tool} | _inputs(request, effect, plan.reads)
    return _apply(bundle, plan, inputs, effect)


def decide_again(bundle: Bundle, inputs: Json, effect: EffectClass | None) -> Decision:
    """The decision that recorded `inputs` give: for replay. A bundle that reads more than was recorded denies."""
    tool = str(inputs.get("tool", ""))
    if bundle.effect_class(tool) is None:
        return _deny(bundle, inputs, Reason.DENY_TOOL_NOT_FOUND)
    return _apply(bundle, bundle.plan(tool), inputs, effect)


def _apply(bundle: Bundle, plan: _Plan, inputs: Json, effect: EffectClass | None) -> Decision:
    size = measure(inputs)
    if isinstance(size, Refusal):
        return _deny(bundle, {"tool": inputs["tool"]}, size.reason, size.message, effect)
    if _work(plan.chain.depth, size) > MAX_WORK:
        message = "the arguments are too large for the rules that look through them"
        return _deny(bundle, inputs, Reason.INPUT_TOO_LARGE, message, effect)
    matched, failed = plan.chain.first(inputs, size.elements)
    if failed is not None:
        rule = plan.rules[failed]
        message = f"the rule {rule.id!r} could not be decided"
        return _deny(bundle, inputs, Reason.POLICY_ERROR, message, effect, (rule.id,))
    if matched is None:
        return _deny(bundle, inputs, Reason.NO_RULE_MATCHED, effect=effect)
    return _conclude(bundle, plan.rules[matched], inputs, effect)


def _conclude(bundle: Bundle, rule: Rule, inputs: Json, effect: EffectClass | None) -> Decision:
    reason = rule.reason or _DEFAULT_REASON[rule.verdict]
    return Decision(
        verdict=rule.verdict,
        reason=reason,
        rule_ids=(rule.id,),
        message=rule.message or reason.meaning,
        risk=rule.risk,
        effect_class=effect,
        policy_digest=bundle.digest,
        evaluator=EVALUATOR,
        inputs=inputs,
        approval=ApprovalTerms(rule.timeout_s) if rule.verdict is Verdict.ESCALATE else None,
        obligations=rule.obligations,
    )


def _deny(
    bundle: Bundle,
    inputs: Json,
    reason: Reason,
    message: str = "",
    effect: EffectClass | None = None,
    rule_ids: tuple[str, ...] = (),
) -> Decision:
    return Decision(
        verdict=Verdict.DENY,
        reason=reason,
        rule_ids=rule_ids,
        message=message or reason.meaning,
        risk=Risk.MEDIUM,
        effect_class=effect,
        policy_digest=bundle.digest,
        evaluator=EVALUATOR,
        inputs=inputs,
    )


def _refuse_args(args: Json) -> Refusal | None:
    if not isinstance(args, dict):
        return Refusal(Reason.SCHEMA_VIOLATION, "the arguments must be a JSON object")
    size = measure(args)
    return size if isinstance(size, Refusal) else None


def _work(depth: int, size: Size) -> int:
    """The most text that conditions with macros can go through: every step may look at all of it."""
    return int(min(max(size.elements, 1) ** depth, MAX_STEPS) * size.bytes) if depth else 0


def _make_plan(rules: tuple[Rule, ...], engine: Engine) -> _Plan:
    reads: dict[str, frozenset[str] | None] = {}
    for rule in rules:
        for name, fields in (rule.when.reads if rule.when is not None else {}).items():
            seen = reads.get(name, frozenset())
            reads[name] = None if fields is None or seen is None else seen | fields
    return _Plan(rules, Chain([rule.when for rule in rules], engine), reads)


def _inputs(request: Request, effect: EffectClass, reads: Mapping[str, frozenset[str] | None]) -> dict[str, Json]:
    """Only what the rules of this tool read. What is not here, the evaluator has not seen."""
    return {name: input_value(name, reads[name], request, effect) for name in sorted(reads)}


def input_value(name: str, fields: frozenset[str] | None, request: Request, effect: EffectClass) -> Json:
    """One variable as rules see it: all of it, or the `fields` that they read."""
    value: Json = str(effect) if name == "effect_class" else _BUILDERS[name](request)
    return value if fields is None else {key: value[key] for key in sorted(fields) if key in value}


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
}
