"""What an intent is called in plain words: a title for the card and a target for the timeline. Made from the arguments
alone; it decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_MOST: Final = 240


@dataclass(frozen=True, slots=True)
class Described:
    """`title` is a verb phrase for people, `target` what the call is about, each on one line."""

    title: str
    target: str


def describe(tool: str, args: Any) -> Described:
    """The plain words for a call. Total: any tool name and any JSON give some words."""
    values: Mapping[str, Any] = args if isinstance(args, dict) else {}
    named = _NAMED.get(tool)
    if named is not None:
        title, target = named(values)
    elif tool.startswith("mcp__"):
        title, target = _mcp(tool, values)
    else:
        title, target = f"Use {tool}", _first_text(values)
    return Described(_line(title), _line(target))


def _line(text: str) -> str:
    folded = " ".join(text.split())
    return folded if len(folded) <= _MOST else folded[: _MOST - 1] + "…"


def _text(values: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = values.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return ", ".join(value)
    return ""


def _first_text(values: Mapping[str, Any]) -> str:
    return next((value for value in values.values() if isinstance(value, str) and value), "")


def _mcp(tool: str, values: Mapping[str, Any]) -> tuple[str, str]:
    _, _, rest = tool.partition("__")
    server, _, name = rest.partition("__")
    recipient = _text(values, "to", "recipient", "recipients")
    if recipient and ("mail" in tool or "send" in tool):
        return f"Send e-mail to {recipient}", _text(values, "subject") or recipient
    return f"{name.replace('_', ' ').capitalize()} ({server})", recipient or _first_text(values)


def _file(verb: str) -> Callable[[Mapping[str, Any]], tuple[str, str]]:
    def words(values: Mapping[str, Any]) -> tuple[str, str]:
        path = _text(values, "file_path", "path", "notebook_path")
        return f"{verb} {path.rsplit('/', 1)[-1]}" if path else f"{verb} a file", path

    return words


_NAMED: Final[dict[str, Callable[[Mapping[str, Any]], tuple[str, str]]]] = {
    "Bash": lambda v: (f"Run: {_text(v, 'command')}", _text(v, "command")),
    "Read": _file("Read"),
    "Write": _file("Write"),
    "Edit": _file("Edit"),
    "MultiEdit": _file("Edit"),
    "NotebookEdit": _file("Edit"),
    "Glob": lambda v: ("Find files", _text(v, "pattern")),
    "Grep": lambda v: ("Search in files", _text(v, "pattern")),
    "WebFetch": lambda v: (f"Fetch {_text(v, 'url')}", _text(v, "url")),
    "WebSearch": lambda v: ("Search the web", _text(v, "query")),
    "Agent": lambda v: (f"Start {_text(v, 'subagent_type') or 'a sub-agent'}", _text(v, "description", "prompt")),
    "Task": lambda v: (f"Start {_text(v, 'subagent_type') or 'a sub-agent'}", _text(v, "description", "prompt")),
    "egress": lambda v: (f"Connect to {v.get('host')}:{v.get('port')}", f"{v.get('host')}:{v.get('port')}"),
    "model": lambda v: (f"Call {_text(v, 'model') or 'a model'}", _text(v, "model")),
}
