"""The law's answer to an intent, before anything is recorded: what is refused whatever the policy says, the policy with
everything that it may read, and the files that the call names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from app.domain.errors import NotFound
from app.domain.named_files import named_files
from app.domain.policy import EVALUATOR, Bundle, decide
from app.domain.reasons import Reason
from app.domain.run import Run
from app.domain.standing import Standing
from app.domain.times import text_of
from app.domain.verdict import BudgetFacts, Decision, GrantFacts, Request, Risk, RunFacts, Verdict
from app.ports import Checked, Clock, FileMarks, Library, ToolCheck
from app.services.asks import Ask, Judged, Refusal, web_place

MAX_OPEN: Final = 500
# What the policy refuses by a better name than "does not fit the schema".
_OWN_NAMES: Final = frozenset({Reason.DENY_TOOL_NOT_FOUND, Reason.INPUT_TOO_LARGE})


class NoTools:
    """No tool has a pinned schema."""

    def check(self, blueprint: str, tool: str, args: Any) -> Checked:
        """Nothing is known, and so nothing is refused here: the policy decides alone."""
        return Checked()


class Judge:
    """Decides, and records nothing."""

    def __init__(self, library: Library, clock: Clock, marks: FileMarks, tools: ToolCheck) -> None:
        self._library, self._clock, self._marks, self._tools = library, clock, marks, tools

    async def judged(self, run: Run, ask: Ask, standing: Standing) -> Judged:
        """The answer with marks of the files that the call names, where a person will be asked."""
        judged = self.decide(run, ask, standing)
        if judged.decision.verdict is not Verdict.ESCALATE or ask.door not in ("tool", "mcp"):
            return judged
        return replace(judged, files=await self._marks.mark(run.id, named_files(ask.tool, ask.args, ask.cwd)))

    def decide(self, run: Run, ask: Ask, standing: Standing) -> Judged:
        """What the law says of an intent now; nothing is recorded."""
        bundle = self._library.bundle(run.policy)
        request = self._request(run, ask, standing)
        decision = decide(bundle, request)
        checked = self._tools.check(run.blueprint, ask.tool, ask.args)
        refusal = self._first(run, ask, standing, checked, decision)
        if refusal is None and decision.verdict is not Verdict.DENY:
            refusal = ask.refusal or _owed(run, decision)
            if refusal is None and len(run.actions) >= MAX_OPEN:
                refusal = Refusal(Reason.TOO_MANY_OPEN, f"{MAX_OPEN} calls of this run have no outcome yet")
        if refusal is not None:
            decision = _overruled(decision, refusal, bundle)
        return Judged(decision, checked.schema, standing.grants.get(decision.grant))

    @staticmethod
    def _first(run: Run, ask: Ask, standing: Standing, checked: Checked, decision: Decision) -> Refusal | None:
        """What is refused whatever the policy says of it."""
        if ask.refusal is not None and ask.refusal.first:
            return ask.refusal
        freeze = standing.frozen(run.id, run.blueprint)
        if freeze is not None:
            return Refusal(Reason.FROZEN, f"{freeze.by} froze {freeze.target or 'everything'}: {freeze.reason}"[:300])
        if checked.reason is not None and decision.reason not in _OWN_NAMES:
            return Refusal(checked.reason, checked.message)
        return None

    def reconsider(self, run: Run, ask: Ask, standing: Standing) -> Decision:
        """The answer to a call that was asked about before, with other arguments."""
        return self.decide(run, self._placed(run, ask), standing).decision

    def seen_by_rules(self, run: Run, ask: Ask, standing: Standing) -> Request:
        """A call as rules and patterns see it."""
        return self._request(run, self._placed(run, ask), standing)

    def _placed(self, run: Run, ask: Ask) -> Ask:
        """With host and port where its arguments name them, and whether the blueprint lists those."""
        host, port = web_place(ask.tool, ask.args)
        try:
            listed = bool(host) and self._library.blueprint(run.blueprint).egress_match(host, port) is not None
        except NotFound:
            listed = False
        return replace(ask, host=host, port=port, egress_listed=listed)

    def _request(self, run: Run, ask: Ask, standing: Standing) -> Request:
        return Request(
            tool=ask.tool,
            args=ask.args,
            run=RunFacts(run.id, run.no, run.title),
            now=text_of(self._clock.now_ms()),
            agent=ask.agent,
            blueprint={"name": run.blueprint},
            budget=BudgetFacts(run.spent_micro, run.held_micro, run.budget_micro),
            effect_class=ask.effect_class,
            host=ask.host,
            port=ask.port,
            egress_listed=ask.egress_listed,
            grade=ask.grade,
            cwd=ask.cwd,
            grants=self._grants(run, ask.tool, standing),
            evidence={
                kind: {"ref": proof.ref, "digest": proof.digest, "by": proof.by, "at": proof.ts}
                for kind, proof in run.evidence.items()
            },
        )

    def _grants(self, run: Run, tool: str, standing: Standing) -> tuple[GrantFacts, ...]:
        if not standing.grants:
            return ()
        seed = self.seed_of(run)
        found = (
            grant
            for grant in standing.grants.values()
            if grant.left and grant.covers(run.id, run.blueprint, seed, tool)
        )
        return tuple(
            GrantFacts(g.id, g.rule, g.tool, g.scope, g.pattern, g.expires, g.left, g.by)
            for g in sorted(found, key=lambda grant: grant.id)
        )

    def seed_of(self, run: Run) -> str:
        """The workspace that a run's blueprint starts from: what a grant for "blueprint and workspace" is given for."""
        try:
            return self._library.blueprint(run.blueprint).seed
        except NotFound:
            return ""


def _owed(run: Run, decision: Decision) -> Refusal | None:
    """An action that leaves an obligation waits until the last one's is met."""
    for name in decision.obligations:
        if name in run.owed:
            return Refusal(Reason.OBLIGATION_OPEN, f"an earlier action still owes its {name}; do that first")
    return None


def _overruled(decision: Decision, refusal: Refusal, bundle: Bundle) -> Decision:
    return Decision(
        verdict=Verdict.DENY,
        reason=refusal.reason,
        rule_ids=(),
        message=refusal.message or refusal.reason.meaning,
        risk=Risk.LOW,
        effect_class=decision.effect_class,
        policy_digest=bundle.digest,
        evaluator=EVALUATOR,
        inputs=decision.inputs,
    )
