"""The text of a script as a syntax tree, in bounded time and memory. The parser's recovery from errors costs time and
memory that grow with the square of the text, so long bodies of here-documents are set aside first, and what is still
long then is not read at all: it is unclear. (Stopping the parser through its callback leaks memory; size is the bound.)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from app.domain.shell_words import expand, source_of

SHELL_PARSER: Final = "tree-sitter-bash/" + version("tree-sitter-bash")
MAX_SCRIPT: Final = 6000
_LANGUAGE: Final = Language(tree_sitter_bash.language())
_PLACEHOLDER: Final = "HELM_BODY_"
_MOST_BODIES: Final = 40
_HEREDOC: Final = re.compile(r"(?<!<)<<(-?)[ \t]*(?:'([A-Za-z_]\w*)'|\"([A-Za-z_]\w*)\"|([A-Za-z_]\w*))")
_ASSIGNED_ELSEWHERE: Final = re.compile(
    r"\b(?:eval|source|read|mapfile|readarray|getopts|declare|local|printf\s+-v)\b|(?:^|[\s;&|])\.\s"
)


@dataclass(frozen=True, slots=True)
class Script:
    """A parsed script. `bodies`: the here-documents that were set aside, by the word that stands in their place."""

    root: Node
    bodies: Mapping[str, str]


def read_script(text: str) -> Script | None:
    """The tree of a script; None when it is too long to be read."""
    bodies: dict[str, str] = {}
    if len(text) > MAX_SCRIPT and _PLACEHOLDER not in text:
        text, bodies = _set_aside(text)
    data = text.encode("utf-8", "replace")
    if len(data) > MAX_SCRIPT:
        return None
    root = Parser(_LANGUAGE).parse(data).root_node
    return Script(root, bodies) if all(_is_body(root, data, token) for token in bodies) else None


def _set_aside(text: str) -> tuple[str, dict[str, str]]:
    """Put one word in the place of each here-document's body in which the shell would expand nothing."""
    lines = text.split("\n")
    kept: list[str] = []
    bodies: dict[str, str] = {}
    at = tried = 0
    while at < len(lines):
        line = lines[at]
        kept.append(line)
        at += 1
        found = _HEREDOC.findall(line)
        if len(found) != 1 or tried >= _MOST_BODIES:
            continue
        tried += 1
        dash, *names = found[0]
        end = _end_of_body(lines, at, "".join(names), bool(dash))
        body = "\n".join(lines[at:end]) + "\n"
        if end is not None and (not names[2] or not set(body) & set("$`\\")):
            token = f"{_PLACEHOLDER}{len(bodies)}"
            bodies[token] = body
            kept.append(token)
            at = end
    return "\n".join(kept), bodies


def _end_of_body(lines: list[str], start: int, word: str, tabs: bool) -> int | None:
    for at in range(start, len(lines)):
        if (lines[at].lstrip("\t") if tabs else lines[at]) == word:
            return at
    return None


def _is_body(root: Node, data: bytes, token: str) -> bool:
    """Whether the parser, too, takes the word for the whole body of a here-document. Otherwise something was set aside
    that the shell would run, and nothing about this script is certain."""
    start = data.index(token.encode() + b"\n")
    node = root.descendant_for_byte_range(start, start + len(token))
    while node is not None and node.type != "heredoc_body":
        node = node.parent
    return node is not None and source_of(node).strip() == token


_NAMES: Final = re.compile(r"(?<![$\w{])[A-Za-z_]\w*")


def constants(root: Node, text: str) -> dict[str, str]:
    """Variables that are set once, to a literal, and named nowhere else except to be read."""
    if _ASSIGNED_ELSEWHERE.search(text):
        return {}
    found: dict[str, str] = {}
    mentions = Counter(_NAMES.findall(text))
    for node in root.children:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if node.type != "variable_assignment" or name is None or value is None:
            continue
        words = expand(value, found)
        if mentions[source_of(name)] == 1 and len(words) == 1 and not words[0].dynamic:
            found[source_of(name)] = words[0].text
    return found


def calls_itself(node: Node) -> bool:
    """A function that starts itself again in a pipe or in the background."""
    name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
    if name is None or body is None:
        return False
    text = source_of(body)
    called = re.search(rf"(?<![\w.-]){re.escape(source_of(name))}(?![\w.-])", text)
    return called is not None and re.search(r"\||(?<!&)&(?![&\d>])", text) is not None
