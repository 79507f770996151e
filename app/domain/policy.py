"""Ordered rules, first match wins. Whatever is not allowed by a rule is denied: no match, an unknown tool, an error, a
result that is not a boolean and an input past its bounds all end in DENY. The same bundle and the same request give the
same decision, in any process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from app.domain.bounds import Refusal, measure
from app.domain.canonical import Json
from app.domain.expressions import ENGINE, Chain, Condition, Engine
from app.domain.policy_grants import MAX_WORK, considered, grantable, recorded_grants, try_grants, work
from app.domain.policy_inputs import Reads, Source, all_reads, joined_inputs, of_record, of_request
from app.domain.reasons import Reason
from app.domain.shell_script import SHELL_PARSER
from app.domain.verdict import ApprovalTerms, Decision, EffectClass, GrantFacts, Request, Risk, Verdict

EVALUATOR: Final = f"helm-policy/1 {ENGINE.name} {SHELL_PARSER}"
_MAX_PLANS: Final = 2048
_TOOL: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")
HEALTH_CHECK: Final = "health-check"
OBLIGATIONS: Final = (HEALTH_CHECK,)
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
    terms: ApprovalTerms = field(default_factory=ApprovalTerms)
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
    reads: Reads


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
    health_checks: tuple[ToolGlob, ...] = ()
    tool_places: Mapping[str, tuple[str, int, int]] = field(default_factory=dict, compare=False, repr=False)
    _plans: dict[str | tuple[str, ...], _Plan] = field(default_factory=dict, compare=False, repr=False)

    def effect_class(self, tool: str) -> EffectClass | None:
        """What the bundle says a tool does; None when it does not know the tool."""
        return next((effect for glob, effect in self.tools if glob.matches(tool)), None)

    def meets(self, obligation: str, tool: str) -> bool:
        """Whether an executed call of this tool does what an earlier action owes. False for what nobody knows."""
        if obligation != HEALTH_CHECK or self.effect_class(tool) is None:
            return False
        return any(glob.matches(tool) for glob in self.health_checks)

    def plan(self, tool: str) -> _Plan:
        """The rules for one tool. Kept per name and per set of rules, which most tools share, up to a bound that a
        flood of names cannot pass."""
        plan = self._plans.get(tool)
        if plan is None:
            rules = tuple(rule for rule in self.rules if rule.covers(tool))
            alike = tuple(rule.id for rule in rules)
            plan = self._plans.get(alike) or _make_plan(rules, self.engine)
            if len(self._plans) < _MAX_PLANS - 1:
                self._plans[tool] = self._plans[alike] = plan
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
    return _apply(_Question(bundle, tool, effect, of_request(request, effect), request.grants, request.now))


def decide_again(bundle: Bundle, inputs: Json, effect: EffectClass | None) -> Decision:
    """The decision that recorded `inputs` give: for replay. A bundle that reads more than was recorded denies."""
    tool, now = str(inputs.get("tool", "")), inputs.get("now")
    if bundle.effect_class(tool) is None:
        return _deny(bundle, inputs, Reason.DENY_TOOL_NOT_FOUND)
    grants = recorded_grants(inputs) if isinstance(now, str) else ()
    return _apply(_Question(bundle, tool, effect, of_record(inputs), grants, now if isinstance(now, str) else ""))


@dataclass(frozen=True, slots=True)
class _Question:
    """What is decided: about one tool, from one source of inputs."""

    bundle: Bundle
    tool: str
    effect: EffectClass | None
    source: Source
    grants: tuple[GrantFacts, ...]
    now: str


def _apply(question: _Question) -> Decision:
    bundle, effect = question.bundle, question.effect
    plan = bundle.plan(question.tool)
    inputs = {"tool": question.tool} | question.source(plan.reads)
    size = measure(inputs)
    if isinstance(size, Refusal):
        return _deny(bundle, {"tool": question.tool}, size.reason, size.message, effect)
    if work(plan.chain.depth, size) > MAX_WORK:
        message = "the arguments are too large for the rules that look through them"
        return _deny(bundle, inputs, Reason.INPUT_TOO_LARGE, message, effect)
    matched, failed = plan.chain.first(inputs, size.elements)
    if failed is not None:
        rule = plan.rules[failed]
        message = f"the rule {rule.id!r} could not be decided"
        return _deny(bundle, inputs, Reason.POLICY_ERROR, message, effect, (rule.id,))
    if matched is None:
        return _deny(bundle, inputs, Reason.NO_RULE_MATCHED, effect=effect)
    return _granted(question, plan.rules[matched], inputs)


def _granted(question: _Question, rule: Rule, inputs: dict[str, Json]) -> Decision:
    """What a rule says, unless it asks a person and a grant has answered before."""
    decision = _conclude(question.bundle, rule, inputs, question.effect)
    if rule.verdict is not Verdict.ESCALATE or not rule.terms.plain:
        return decision
    known = considered(question.grants, rule.id, question.tool, question.now)
    tried = [one for one in known if grantable(rule.terms, rule.risk, one.pattern)]
    if not tried:
        return decision
    grant, looked = try_grants(tried, question.source, question.bundle.engine)
    decision = replace(decision, inputs=joined_inputs(looked, inputs))
    if not grant:
        return decision
    return replace(
        decision,
        verdict=Verdict.ALLOW,
        reason=Reason.GRANTED,
        rule_ids=(rule.id, f"grant:{grant}"),
        message=Reason.GRANTED.meaning,
        approval=None,
        grant=grant,
    )


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
        approval=rule.terms if rule.verdict is Verdict.ESCALATE else None,
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


def _make_plan(rules: tuple[Rule, ...], engine: Engine) -> _Plan:
    conditions = [rule.when for rule in rules]
    return _Plan(rules, Chain(conditions, engine), all_reads(conditions))
