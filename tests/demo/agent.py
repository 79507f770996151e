"""A small agent loop without a model or tools: it keeps the conversation and answers calls as the test says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.demo.conversation import read_anthropic
from app.demo.play import Stage, ToolUse, Turn
from app.demo.scenario import Call
from app.demo.server import SCENARIOS, load_scenarios

VARIABLES = {"site_port": "8471"}
Tool = Callable[[Call], tuple[str, bool]]


def script(*steps: Mapping[str, object]) -> str:
    """The task text that plays these steps."""
    return f"[scenario:script]\n```json\n{json.dumps(steps)}\n```"


@dataclass
class Agent:
    """The main agent or a sub-agent; `tool` answers (text, failed) to each call."""

    task: str
    tool: Tool = lambda call: ("ok", False)
    system: str = "Primary working directory: /workspace\n"
    offered: tuple[str, ...] = ()
    messages: list[dict[str, object]] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.say(self.task)

    def say(self, text: str, role: str = "user") -> None:
        self.messages.append({"role": role, "content": [{"type": "text", "text": text}]})

    def steer(self, text: str) -> None:
        """A message in the middle of the work, in the words in which the CLI passes it on."""
        self.say(
            f"The user sent a new message while you were working:\n{text}\n\nThis is how Claude Code shows messages.",
            "system",
        )

    def body(self) -> dict[str, object]:
        tools = [{"name": name} for name in self.offered]
        return {"model": "claude-sonnet-5", "system": self.system, "messages": self.messages, "tools": tools}

    def ask(self) -> Turn:
        """One request to a stage that has never seen this conversation."""
        return Stage(load_scenarios(SCENARIOS), VARIABLES).next_turn(read_anthropic(self.body()))

    def hear(self, turn: Turn) -> None:
        """Keep the answer and give the results of its calls."""
        self.turns.append(turn)
        blocks: list[dict[str, object]] = [{"type": "text", "text": text} for text in turn.texts]
        blocks += [
            {"type": "tool_use", "id": use.id, "name": use.call.tool, "input": use.call.input} for use in turn.calls
        ]
        self.messages.append({"role": "assistant", "content": blocks})
        if turn.calls:
            self.messages.append({"role": "user", "content": [self._result(use) for use in turn.calls]})

    def step(self) -> Turn:
        turn = self.ask()
        self.hear(turn)
        return turn

    def play(self, most: int = 40) -> Turn:
        """Go on until a turn ends without a call."""
        for _ in range(most):
            turn = self.step()
            if turn.ends:
                return turn
        raise AssertionError(f"no end after {most} turns")

    @property
    def steps(self) -> list[str]:
        return [turn.step for turn in self.turns]

    @property
    def calls(self) -> list[Call]:
        return [use.call for turn in self.turns for use in turn.calls]

    def _result(self, use: ToolUse) -> dict[str, object]:
        text, failed = self.tool(use.call)
        return {"type": "tool_result", "tool_use_id": use.id, "content": text, "is_error": failed}
