"""The neutral view of a request: who said what, which calls were made, what came back.

Both wire formats are read into this one value, so a scenario plays the same over either. Whatever is not understood
is ignored, never refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# How the agent's CLI hands a person's message to the model in the middle of a turn.
_STEER = re.compile(r"The user sent a new message while you were working:\s*(.+)", re.DOTALL)
_ADVICE = re.compile(r"\n\s*(?:IMPORTANT: |This is how |</system-reminder>).*\Z", re.DOTALL)
_NOT_A_PERSON = (
    "<system-reminder>",
    "[Request interrupted",
    "<local-command",
    "<command-",
    "Continue from where you left off",
)
_NOT_THE_MODEL = ("No response requested.", "API Error", "[Request interrupted")


@dataclass(frozen=True, slots=True)
class Result:
    """What one tool call gave back."""

    call_id: str
    text: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Message:
    """One message; texts of people and of the model, ids of calls, and results."""

    role: str
    texts: tuple[str, ...] = ()
    call_ids: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()

    @property
    def spoken(self) -> bool:
        """True for a text that the model itself finished, as opposed to one that the runtime put into its mouth."""
        text = "\n".join(self.texts).strip()
        return self.role == "assistant" and not self.call_ids and bool(text) and not text.startswith(_NOT_THE_MODEL)

    @property
    def steer(self) -> str:
        """What a person says here, or nothing."""
        if self.role == "assistant":
            return ""
        found = []
        for text in self.texts:
            match = _STEER.search(text)
            if match:
                found.append(_ADVICE.sub("", match[1]).strip())
            elif self.role == "user" and not text.lstrip().startswith(_NOT_A_PERSON):
                found.append(text.strip())
        return "\n".join(filter(None, found))


@dataclass(frozen=True, slots=True)
class Conversation:
    """A request's state: everything that the step to play depends on."""

    model: str
    system: str
    messages: tuple[Message, ...]
    tools: frozenset[str]

    @property
    def opening(self) -> str:
        """The texts before the model first spoke: the task."""
        texts: list[str] = []
        for message in self.messages:
            if message.role == "assistant":
                break
            texts.extend(message.texts)
        return "\n".join(texts)


def read_anthropic(body: Mapping[str, object]) -> Conversation:
    """A body of POST /v1/messages."""
    return Conversation(
        model=str(body.get("model", "")),
        system="\n".join(_texts(body.get("system"))),
        messages=tuple(_anthropic_message(row) for row in _objects(body.get("messages"))),
        tools=frozenset(str(tool.get("name", "")) for tool in _objects(body.get("tools"))),
    )


def read_openai(body: Mapping[str, object]) -> Conversation:
    """A body of POST /v1/chat/completions; a system message before the first answer is the system prompt."""
    messages = [_openai_message(row) for row in _objects(body.get("messages"))]
    lead = 0
    while lead < len(messages) and messages[lead].role in ("system", "developer"):
        lead += 1
    functions = (tool.get("function") for tool in _objects(body.get("tools")))
    return Conversation(
        model=str(body.get("model", "")),
        system="\n".join(text for message in messages[:lead] for text in message.texts),
        messages=tuple(messages[lead:]),
        tools=frozenset(str(function.get("name", "")) for function in functions if isinstance(function, Mapping)),
    )


def _anthropic_message(row: Mapping[str, object]) -> Message:
    content = row.get("content")
    blocks = list(_objects(content))
    return Message(
        role=str(row.get("role", "")),
        texts=tuple(_texts(content)),
        call_ids=tuple(str(block.get("id", "")) for block in blocks if block.get("type") == "tool_use"),
        results=tuple(
            Result(
                str(block.get("tool_use_id", "")),
                "\n".join(_texts(block.get("content"))),
                block.get("is_error") is True,
            )
            for block in blocks
            if block.get("type") == "tool_result"
        ),
    )


def _openai_message(row: Mapping[str, object]) -> Message:
    role = str(row.get("role", ""))
    texts = tuple(_texts(row.get("content")))
    if role == "tool":
        text = "\n".join(texts)
        failed = text.lower().startswith(("error", "denied"))  # this format has no flag for a failed call
        return Message(role=role, results=(Result(str(row.get("tool_call_id", "")), text, failed),))
    calls = tuple(str(call.get("id", "")) for call in _objects(row.get("tool_calls")))
    return Message(role=role, texts=texts, call_ids=calls)


def _texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for block in _objects(content):
        text = block.get("text")
        if block.get("type") == "text" and isinstance(text, str):
            yield text


def _objects(value: object) -> Sequence[Mapping[str, object]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []
