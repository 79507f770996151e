"""What an approval shows of a tool call: an e-mail as an e-mail, a command as a command, a file change as a diff.

The rendered form never hides anything that the raw form has: keys that a form does not know are listed beside it, and
whatever does not fit a form falls back to JSON. Nothing is cut: the end of the payload must be reachable to allow it.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

Extra = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph of plain text, or a list whose marks were taken off. Blank lines are only the space between."""

    lines: tuple[str, ...]
    points: bool = False


@dataclass(frozen=True, slots=True)
class EmailBody:
    """An e-mail: address rows, subject, text in blocks, attachments."""

    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    subject: str
    blocks: tuple[Block, ...]
    files: tuple[str, ...]
    extra: Extra = ()


@dataclass(frozen=True, slots=True)
class CommandBody:
    """A shell command as sent; `parts` are its statements, one per line, for reading."""

    command: str
    parts: tuple[str, ...]
    note: str = ""
    extra: Extra = ()


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a diff: sign is "+", "-", " " or "@" (a gap); numbers are 0 where the side has none."""

    sign: str
    old: int
    new: int
    text: str


@dataclass(frozen=True, slots=True)
class FileBody:
    """A file change: path, and lines that are added, removed or kept."""

    path: str
    verb: str
    lines: tuple[DiffLine, ...]
    added: int
    removed: int
    extra: Extra = ()


@dataclass(frozen=True, slots=True)
class HttpBody:
    """A request: method, URL split for reading, headers and body."""

    method: str
    url: str
    host: str
    headers: tuple[tuple[str, str], ...]
    body: str
    extra: Extra = ()


@dataclass(frozen=True, slots=True)
class JsonBody:
    """Anything else: the arguments, indented."""

    text: str


PayloadBody = EmailBody | CommandBody | FileBody | HttpBody | JsonBody


@dataclass(frozen=True, slots=True)
class Payload:
    """The whole input of a tool call, rendered and raw, with its size in bytes and its digest."""

    kind: str
    label: str
    icon: str
    body: PayloadBody
    raw: str
    size: int
    digest: str


def payload_of(tool: str, arguments: Mapping[str, object], digest: str, size: int = 0) -> Payload:
    """The payload of a call. `size` 0 = measure the compact JSON. Never raises on odd shapes: they become JSON."""
    raw = json.dumps(arguments, indent=2, ensure_ascii=False, sort_keys=True, default=str)
    kind, label, icon, body = _body(tool, arguments, raw)
    return Payload(kind, label, icon, body, raw, size or _size(arguments), digest)


def _size(arguments: Mapping[str, object]) -> int:
    compact = json.dumps(arguments, separators=(",", ":"), ensure_ascii=False, default=str)
    return len(compact.encode("utf-8", "surrogatepass"))


def _body(tool: str, arguments: Mapping[str, object], raw: str) -> tuple[str, str, str, PayloadBody]:
    name = tool.rsplit("__", 1)[-1].lower()
    if {"to", "subject"} <= arguments.keys() and ("mail" in tool.lower() or "body" in arguments or "text" in arguments):
        email = _email(arguments)
        if email is not None:
            return "email", "E-mail", "mail", email
    if name in {"bash", "shell"} and isinstance(arguments.get("command"), str):
        return "command", "Shell command", "term", _command(arguments)
    if name in {"write", "edit", "multiedit"}:
        change = _file(name, arguments)
        if change is not None:
            return "file", "File", "file", change
    if isinstance(arguments.get("url"), str):
        return "http", "Request", "globe", _http(arguments)
    return "json", "Arguments", "more", JsonBody(raw)


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _names(value: object) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_text(part) for part in value)
    return (_text(value),)


def _extra(arguments: Mapping[str, object], known: set[str]) -> Extra:
    """What the form has no place for; left out, it would be allowed unseen."""
    return tuple((key, _text(value)) for key, value in arguments.items() if key not in known)


def _email(arguments: Mapping[str, object]) -> EmailBody | None:
    body = "body" if "body" in arguments else "text"
    if not isinstance(arguments.get(body), str):
        return None
    known = {"to", "cc", "bcc", "subject", body, "files", "attachments"}
    sender = "from" if "from" in arguments else "sender"
    return EmailBody(
        _text(arguments.get(sender)),
        _names(arguments.get("to")),
        _names(arguments.get("cc")),
        _names(arguments.get("bcc")),
        _text(arguments.get("subject")),
        text_blocks(_text(arguments.get(body))),
        _names(arguments.get("files")) + _names(arguments.get("attachments")),
        _extra(arguments, known | {sender}),
    )


_POINT = re.compile(r"[ \t]{0,8}[-*•][ \t]+(?=\S)")


def text_blocks(text: str) -> tuple[Block, ...]:
    """Plain text as paragraphs and lists. Only blank lines and list marks are gone, every other character stays."""
    blocks: list[Block] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        point = _POINT.match(line)
        words = line[point.end() :] if point else line
        if not line.strip():
            blocks.append(Block(()))
        elif blocks and blocks[-1].lines and blocks[-1].points == bool(point):
            blocks[-1] = Block((*blocks[-1].lines, words), bool(point))
        else:
            blocks.append(Block((words,), bool(point)))
    return tuple(block for block in blocks if block.lines)


def _command(arguments: Mapping[str, object]) -> CommandBody:
    command = _text(arguments.get("command"))
    return CommandBody(
        command, statements(command), _text(arguments.get("description")), _extra(arguments, {"command", "description"})
    )


def statements(command: str) -> tuple[str, ...]:
    """The command with a line break after `;`, `&&`, `||` and `|` outside quotes; as it is where quoting is unusual."""
    if "\n" in command or "<<" in command or "$(" in command or "`" in command:
        return tuple(command.split("\n"))
    lexer = shlex.shlex(command, posix=False, punctuation_chars=";&|")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError:
        return (command,)
    lines: list[str] = []
    line: list[str] = []
    for word in words:
        line.append(word)
        if word in {";", "&&", "||", "|"}:
            lines.append(" ".join(line))
            line = []
    if line:
        lines.append(" ".join(line))
    same = "".join("".join(lines).split()) == "".join(command.split())
    return tuple(lines) if same and lines else (command,)


def _file(name: str, arguments: Mapping[str, object]) -> FileBody | None:
    key = "file_path" if "file_path" in arguments else "path"
    path = arguments.get(key)
    if not isinstance(path, str):
        return None
    if name == "write" and isinstance(arguments.get("content"), str):
        lines = _added(_text(arguments.get("content")))
        return FileBody(path, "Write", lines, len(lines), 0, _extra(arguments, {key, "content"}))
    edits = _edits(name, arguments)
    if not edits:
        return None
    parts = [line for old, new in edits for line in diff_lines(old, new)]
    known = {key, "old_string", "new_string"} | ({"edits"} if name == "multiedit" else set())
    added, removed = (sum(line.sign == sign for line in parts) for sign in "+-")
    return FileBody(path, "Edit", tuple(parts), added, removed, _extra(arguments, known))


def _added(content: str) -> tuple[DiffLine, ...]:
    return tuple(DiffLine("+", 0, number, text) for number, text in enumerate(content.split("\n"), 1))


def _edits(name: str, arguments: Mapping[str, object]) -> list[tuple[str, str]]:
    """Pairs of old and new text; empty when an edit has other keys, so that JSON shows it whole."""
    given = arguments.get("edits") if name == "multiedit" else [arguments]
    if not isinstance(given, list):
        return []
    pairs: list[tuple[str, str]] = []
    for edit in given:
        if not isinstance(edit, Mapping):
            return []
        old, new = edit.get("old_string"), edit.get("new_string")
        if not isinstance(old, str) or not isinstance(new, str):
            return []
        if name == "multiedit" and edit.keys() - {"old_string", "new_string"}:
            return []
        pairs.append((old, new))
    return pairs


_MOST_DIFFED = 2_000


def diff_lines(old: str, new: str) -> list[DiffLine]:
    """Every line of both sides; texts too long to align in good time are shown as all removed, then all added."""
    before, after = old.split("\n"), new.split("\n")
    if len(before) + len(after) > _MOST_DIFFED:
        gone = [DiffLine("-", number, 0, text) for number, text in enumerate(before, 1)]
        return gone + [DiffLine("+", 0, number, text) for number, text in enumerate(after, 1)]
    lines: list[DiffLine] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            lines += [DiffLine(" ", i + 1, j1 + i - i1 + 1, before[i]) for i in range(i1, i2)]
            continue
        lines += [DiffLine("-", i + 1, 0, before[i]) for i in range(i1, i2)]
        lines += [DiffLine("+", 0, j + 1, after[j]) for j in range(j1, j2)]
    return lines


def _http(arguments: Mapping[str, object]) -> HttpBody:
    url = _text(arguments.get("url"))
    given = arguments.get("headers")
    headers = tuple((str(key), _text(value)) for key, value in given.items()) if isinstance(given, Mapping) else ()
    known = {"url", "method", "body"} | ({"headers"} if isinstance(given, Mapping) else set())
    method = _text(arguments.get("method")) or "GET"
    body = _text(arguments.get("body"))
    return HttpBody(method, url, _host(url), headers, body, _extra(arguments, known))


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""
