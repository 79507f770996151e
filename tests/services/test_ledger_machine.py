"""Random lives of runs through a real ledger, with legal and illegal drafts and failing writes: what a run is, is
always the fold of its stored events, and the whole log always verifies."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest
from app.adapters.sqlite.rows import event_of
from app.domain.chain import Chain
from app.domain.content import Content, Seen
from app.domain.errors import AlreadyClaimed, HelmError, LedgerUnavailable, NotFound, RunEnded, SequenceMismatch
from app.domain.events import Draft, Event, Local
from app.domain.fold import evolve
from app.domain.payloads import Controlled, RunClosed, RunInterrupted, RunnerConnected, SteeringDelivered, SteeringSeen
from app.domain.receipt import POLICY, parse
from app.domain.run import Action, Run
from app.services.ledger import Ledger
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.fakes import MemoryReader, MemoryStore, StepClock
from tests.log_kit import (
    AGENT,
    ANA,
    LOG,
    SIGNER,
    START_MS,
    answer,
    check,
    created,
    dispatch,
    intent,
    note,
    opened,
    outcome,
    question,
    sealed_args,
    verdict,
)

Errors = type[HelmError] | tuple[type[HelmError], ...]
Refs = dict[str, str | Local]
pick = st.integers(0, 1_000)


class Life(RuleBasedStateMachine):
    """Draws the next thing to record from what the log shows, as the services do."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = MemoryStore()
        self.number = 0
        self._open()
        self._record("_sys", Draft(opened()))

    def _open(self) -> None:
        reader = MemoryReader(self.store)
        self.ledger = Ledger(Chain(LOG, SIGNER, 0, "boot"), self.store, reader, StepClock(START_MS + self.number))
        self.ledger.start()

    def teardown(self) -> None:
        self.runner.run(self.ledger.close())
        report = check(self.store.lines())
        assert report.ok, report.errors
        self.runner.close()

    def _record(self, run: str, *drafts: Draft, expect: int | None = None) -> tuple[Event, ...]:
        """Record; a write that was made to fail is what the services see too."""

        async def call() -> tuple[Event, ...]:
            return await self.ledger.record(run, *drafts, expect=expect)

        try:
            return self.runner.run(call())
        except LedgerUnavailable:
            return ()

    def _refused(
        self, error: type[HelmError] | tuple[type[HelmError], ...], run: str, *drafts: Draft, **more: Any
    ) -> None:
        before = len(self.store.sealed)
        self.store.faults.clear()
        with pytest.raises(error):
            self._record(run, *drafts, **more)
        assert len(self.store.sealed) == before

    def _next(self, prefix: str) -> str:
        self.number += 1
        return f"{prefix}{self.number}"

    def _runs(self, live: bool = True) -> list[Run]:
        return [run for run in self.store.runs.values() if run.live == live]

    def _actions(self, *states: str) -> list[Action]:
        return [a for run in self._runs() for a in run.actions.values() if a.state in states]

    # --- legal ---

    @rule()
    def start(self) -> None:
        self._record(self._next("r"), Draft(created(len(self.store.runs) + 1), ANA))

    @precondition(lambda self: self._runs())
    @rule(which=pick, decision=st.sampled_from(["ALLOW", "DENY", "ESCALATE"]), door=st.sampled_from(["tool", "mcp"]))
    def ask(self, which: int, decision: Literal["ALLOW", "DENY", "ESCALATE"], door: Literal["tool", "mcp"]) -> None:
        run = self._runs()[which % len(self._runs())]
        id = self._next("act")
        args = sealed_args(id)
        refs: Refs = {"intent": Local(0), "verdict": Local(1)}
        third = {
            "ALLOW": dispatch(id, args.digest, hold_micro=11),
            "DENY": outcome(id, "refused"),
            "ESCALATE": question(id, f"apr-{id}"),
        }[decision]
        judged = Draft(verdict(id, decision), POLICY, {"intent": Local(0)})
        self._record(run.id, Draft(intent(id, args=args, door=door), AGENT), judged, Draft(third, refs=refs))

    @precondition(lambda self: self._actions("waiting"))
    @rule(which=pick, allow=st.booleans(), person=st.booleans())
    def settle(self, which: int, allow: bool, person: bool) -> None:
        action = self._actions("waiting")[which % len(self._actions("waiting"))]
        refs: Refs = {"intent": action.intent, "supersedes": action.verdict, "request": action.request}
        drafts: list[Draft] = []
        if person:
            asked = self.store.sealed[action.request_seq]
            seen = Seen(asked.event.seq, parse(asked.line).root)
            decided = answer(asked.event, action.args, "approve" if allow else "deny", seen=seen)
            drafts.append(Draft(decided, ANA, {"request": action.request}))
            refs["approval"] = Local(0)
        allow = allow and person
        ends: Refs = {"intent": action.intent, "verdict": Local(len(drafts))}
        drafts.append(Draft(verdict(action.id, "ALLOW" if allow else "DENY"), POLICY, refs))
        if allow:
            drafts.append(Draft(dispatch(action.id, action.args), refs={**ends, "approval": Local(0)}))
        else:
            drafts.append(Draft(outcome(action.id, "refused"), refs=ends))
        self._record(action.run, *drafts)

    @precondition(lambda self: self._actions("dispatched"))
    @rule(which=pick, status=st.sampled_from(["executed", "failed", "unknown", "cancelled"]), cost=st.integers(0, 50))
    def end(self, which: int, status: Literal["executed", "failed", "unknown", "cancelled"], cost: int) -> None:
        action = self._actions("dispatched")[which % len(self._actions("dispatched"))]
        refs = {"intent": action.intent, "verdict": action.verdict, "dispatch": action.dispatch}
        self._record(action.run, Draft(outcome(action.id, status, cost), AGENT, refs))

    @precondition(lambda self: self._runs())
    @rule(which=pick, kind=st.integers(0, 3))
    def say(self, which: int, kind: int) -> None:
        run = self._runs()[which % len(self._runs())]
        payload = (
            note(),
            RunnerConnected("runner", "sdk", "cli", "session", 1),
            RunInterrupted("RUN_INTERRUPTED", "gone"),
            Controlled("steer", self._next("msg"), "queue", Content.text("go on")),
        )[kind]
        self._record(run.id, Draft(payload))

    @precondition(lambda self: any(run.steering for run in self._runs()))
    @rule(seen=st.booleans())
    def deliver(self, seen: bool) -> None:
        run = next(run for run in self._runs() if run.steering)
        message = next(iter(run.steering.values()))
        if seen or message.state == "delivered":
            self._record(run.id, Draft(SteeringSeen(message.id)))
        else:
            self._record(run.id, Draft(SteeringDelivered(message.id)))

    @precondition(lambda self: any(not run.actions for run in self._runs()))
    @rule(which=pick)
    def close(self, which: int) -> None:
        idle = [run for run in self._runs() if not run.actions]
        run = idle[which % len(idle)]
        totals = (run.spent_micro, run.input_tokens, run.output_tokens, run.tool_calls)
        closing = RunClosed("complete", "COMPLETED", "", run.run_seq + 1, *totals, ())
        self._record(run.id, Draft(closing), expect=run.run_seq)

    # --- the world ---

    @rule(fault=st.sampled_from(["before", "after"]))
    def break_the_disk(self, fault: Literal["before", "after"]) -> None:
        self.store.faults = [fault]

    @rule()
    def restart(self) -> None:
        self.runner.run(self.ledger.close())
        self._open()

    # --- illegal ---

    @precondition(lambda self: self.store.actions)
    @rule(which=pick)
    def repeat_what_was_claimed(self, which: int) -> None:
        action = list(self.store.actions.values())[which % len(self.store.actions)]
        intended = Draft(intent("other", key=action.key), AGENT)
        self._refused((AlreadyClaimed, RunEnded), action.run, intended)
        if action.dispatch:
            refs = {"intent": action.intent, "verdict": action.verdict}
            self._refused((AlreadyClaimed, RunEnded), action.run, Draft(dispatch(action.id, action.args), refs=refs))
        if action.outcome:
            refs = {"intent": action.intent, "verdict": action.verdict}
            refs |= {"dispatch": action.dispatch} if action.dispatch else {}
            self._refused((AlreadyClaimed, RunEnded), action.run, Draft(outcome(action.id), refs=refs))

    @precondition(lambda self: self._runs(live=False))
    @rule(which=pick)
    def add_to_what_has_ended(self, which: int) -> None:
        run = self._runs(live=False)[which % len(self._runs(live=False))]
        self._refused(RunEnded, run.id, Draft(note()))

    @precondition(lambda self: self._runs())
    @rule(which=pick, off=st.integers(1, 3))
    def act_on_an_old_look(self, which: int, off: int) -> None:
        run = self._runs()[which % len(self._runs())]
        self._refused(SequenceMismatch, run.id, Draft(note()), expect=run.run_seq - off)

    @rule()
    def write_into_nowhere(self) -> None:
        self._refused(NotFound, "nowhere", Draft(note()))

    # --- what always holds ---

    @invariant()
    def a_run_is_the_fold_of_its_stored_events(self) -> None:
        runs: dict[str, Run] = {}
        held = {c.digest: (c.salt, c.data) for e in self.store.sealed for c in e.event.contents.values() if c.data}
        for entry in self.store.sealed:
            event = event_of(entry.line, held)
            if event.run != "_sys":
                runs[event.run] = evolve(runs.get(event.run), event).run
        assert runs == self.store.runs

    @invariant()
    def what_the_ledger_remembers_is_what_is_stored(self) -> None:
        for id, stored in self.store.runs.items():
            assert self.runner.run(self.ledger.run(id)) == stored
        assert self.ledger.head == len(self.store.sealed) - 1

    @invariant()
    def money_is_held_only_for_what_is_dispatched(self) -> None:
        for run in self.store.runs.values():
            assert run.held_micro == sum(a.hold_micro for a in run.actions.values() if a.state == "dispatched") >= 0


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
