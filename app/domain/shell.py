"""A shell command, taken apart before it runs: which simple commands it holds, through quotes, wrappers, `bash -c`,
here-documents and pipes. A tripwire, not a boundary: a program can always do what no command line shows, and the
container and the door are what stops it. What cannot be read for certain is `unclear`, and a person is asked."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tree_sitter import Node

from app.domain.canonical import Json
from app.domain.places import resolve
from app.domain.shell_hazards import DECODERS, DOWNLOADERS, SHELLS, hazards_of
from app.domain.shell_script import calls_itself, constants, read_script
from app.domain.shell_unwrap import STDIN_CODE, Inner, unwrap
from app.domain.shell_words import Command, Feed, Word, expand, source_of

MAX_COMMAND: Final = 64 * 1024
MAX_COMMANDS: Final = 200
MAX_SCRIPTS: Final = 8
MAX_DEPTH: Final = 120
UNKNOWN: Final = "?"
_NAME: Final = re.compile(r"[A-Za-z0-9_./:@%+,~\[-]+")
_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_SCOPES: Final = frozenset({"subshell", "command_substitution", "process_substitution", "pipeline"})


def shell_view(command: object, cwd: str) -> Json:
    """What a rule sees as `shell`: `commands` ({name, argv, redirects}), their `names`, the `hazards` that were found,
    and `unclear` when some of it could not be read. No command at all is unclear."""
    reader = _Reader(cwd)
    if isinstance(command, str) and command.strip() and len(command.encode("utf-8", "replace")) <= MAX_COMMAND:
        reader.script(command)
    else:
        reader.unclear = True
    hazards = set(reader.marks)
    for found in reader.commands:
        hazards |= hazards_of(found)
    return {
        "commands": [
            {"name": found.name, "argv": [word.text for word in found.words], "redirects": list(found.redirects)}
            for found in reader.commands
        ],
        "names": sorted({found.name for found in reader.commands}),
        "hazards": sorted(hazards),
        "unclear": reader.unclear,
    }


@dataclass(frozen=True, slots=True)
class _Where:
    """The place of a node: what is fed to it, and how deep it lies."""

    feed: Feed | None = None
    depth: int = 0


class _Reader:
    """One walk over a command and over every script that it carries inside."""

    def __init__(self, cwd: str) -> None:
        self.commands: list[Command] = []
        self.marks: set[str] = set()
        self.unclear = False
        self._cwd = cwd
        self._values: Mapping[str, str] = {}
        self._bodies: Mapping[str, str] = {}
        self._scripts = 0

    def script(self, text: str, feed: Feed | None = None) -> None:
        """Read a whole script: the command itself, or one that a command carries."""
        self._scripts += 1
        if self._scripts > MAX_SCRIPTS or _INVISIBLE.search(text):
            self.unclear = True
            return
        script = read_script(text)
        if script is None:
            self.unclear = True
            return
        self.unclear = self.unclear or script.root.has_error
        outer, bodies = self._values, self._bodies
        self._bodies = script.bodies
        self._values = {**outer, **constants(script.root, text)}
        self._visit(script.root, _Where(feed))
        self._values, self._bodies = outer, bodies

    def _visit(self, node: Node, where: _Where) -> None:
        if where.depth > MAX_DEPTH or len(self.commands) > MAX_COMMANDS:
            self.unclear = True
            return
        where = replace(where, depth=where.depth + 1)
        before = self._cwd
        if node.type == "command":
            self._command(node, where)
        elif node.type == "pipeline":
            self._pipeline([child for child in node.children if child.is_named], where)
        elif node.type == "redirected_statement":
            self._redirected(node, where)
        else:
            self._structure(node)
            for child in node.children:
                if child.is_named:
                    self._visit(child, where)
        if node.type in _SCOPES:
            self._cwd = before

    def _structure(self, node: Node) -> None:
        """What is dangerous or unreadable about the shape itself."""
        if node.type == "function_definition" and calls_itself(node):
            self.marks.add("fork-bomb")
        elif node.type in ("variable_assignment", "unset_command") and re.match(
            r"(?:unset\s.*\bHISTFILE\b|HISTFILE=|HISTSIZE=0)", source_of(node)
        ):
            self.marks.add("history-wipe")

    def _pipeline(self, stages: Sequence[Node], where: _Where) -> None:
        feed = where.feed
        for stage in stages:
            start = len(self.commands)
            self._visit(stage, replace(where, feed=feed))
            feed = self._output(self.commands[start:], feed)

    def _output(self, made: Sequence[Command], before: Feed | None) -> Feed:
        """What these commands hand to the next stage of their pipe."""
        names = {command.name for command in made}
        fetched = (before is not None and before.fetched) or bool(names & DOWNLOADERS)
        if any(command.name in DECODERS and command.decodes() for command in made):
            fetched = True
        last = made[-1] if made else None
        if last is None or fetched:
            return Feed(fetched=fetched)
        if last.name == "cat":
            return last.stdin if last.stdin is not None and not last.plain() else Feed(file=True)
        if last.name in ("echo", "printf") and not any(word.dynamic for word in last.words):
            words = [word.text for word in last.words if word.text not in ("-n", "-e", "-E", "%s", "%s\\n")]
            return Feed(text=" ".join(words).replace("\\n", "\n"))
        return Feed()

    def _redirected(self, node: Node, where: _Where) -> None:
        feed, after, redirects = where.feed, [], []
        for child in node.children_by_field_name("redirect"):
            if child.type == "heredoc_redirect":
                body = next((part for part in child.children if part.type == "heredoc_body"), None)
                text = source_of(body) if body is not None else ""
                feed = Feed(text=self._bodies.get(text.strip(), text))
                after += [part for part in child.children if part.is_named and part.type not in _HEREDOC_PARTS]
                redirects += [source_of(part) for part in child.children if part.type == "file_redirect"]
                self._substitutions(body, where)
            else:
                redirects.append(source_of(child))
                self._substitutions(child, where)
        body = node.child_by_field_name("body")
        start = len(self.commands)
        if body is not None:
            self._visit(body, replace(where, feed=feed))
        elif redirects:
            self._emit(Command(":", (), (), self._cwd))
        if len(self.commands) > start:
            self.commands[start] = self.commands[start].redirected(redirects)
        for part in after:
            self._visit(part, replace(where, feed=self._output(self.commands[start:], feed)))

    def _substitutions(self, node: Node | None, where: _Where) -> None:
        """Visit the commands inside $(...), `...` and <(...)."""
        if where.depth > MAX_DEPTH:
            self.unclear = True
            return
        for child in node.children if node is not None else ():
            if child.type in ("command_substitution", "process_substitution"):
                self._visit(child, replace(where, feed=None))
            elif child.is_named and child.type not in ("command", "pipeline"):
                self._substitutions(child, replace(where, depth=where.depth + 1))

    def _command(self, node: Node, where: _Where) -> None:
        start = len(self.commands)
        words: list[Word] = []
        redirects: list[str] = []
        feed, values, end = where.feed, self._known(), -1
        for child in node.children:
            if not child.is_named:
                continue
            if child.type == "herestring_redirect":
                text = [word for part in child.children if part.is_named for word in expand(part, values)]
                feed = Feed(text=None if any(word.dynamic for word in text) else " ".join(word.text for word in text))
            elif child.type == "file_redirect":
                redirects.append(source_of(child))
            elif child.type == "variable_assignment":
                self._structure(child)
            else:
                words += expand(child, values)
                # Two words without a space between them are one word that the grammar has misread.
                self.unclear = self.unclear or child.start_byte == end
                end = child.end_byte
            self._substitutions_of(child, where)
        fetched = any(command.name in DOWNLOADERS | DECODERS for command in self.commands[start:])
        self._run(words, Command("", (), tuple(redirects), self._cwd, feed), fetched, 0)

    def _known(self) -> Mapping[str, str]:
        """The variables whose value is known at this point of the script."""
        return self._values if self._cwd == UNKNOWN else {**self._values, "PWD": self._cwd}

    def _substitutions_of(self, node: Node, where: _Where) -> None:
        if node.type in ("command_substitution", "process_substitution"):
            self._visit(node, replace(where, feed=None))
        else:
            self._substitutions(node, where)

    def _run(self, words: Sequence[Word], shape: Command, fetched: bool, level: int) -> None:
        """Emit a command, and go on with the one that it runs itself, if it does."""
        if not words:
            return
        if level > MAX_SCRIPTS:
            self.unclear = True
            return
        first = words[0]
        name = posixpath.basename(first.text) or first.text
        if first.dynamic or _NAME.fullmatch(first.text) is None:
            self.unclear = True
            if fetched:
                self.marks.add("pipe-to-shell")
        command = replace(shape, name=name, words=tuple(words[1:]))
        self._emit(command)
        if name in ("cd", "pushd"):
            self._chdir(command.words)
        inner = unwrap(command)
        if inner.unclear:
            self._opaque(fetched)
        if inner.words:
            self._run(
                inner.words, replace(shape, extra=shape.extra or inner.extra, roots=inner.roots), fetched, level + 1
            )
        self._code(command, inner, fetched)

    def _code(self, command: Command, inner: Inner, fetched: bool) -> None:
        """Code that a command takes from an argument or from its input."""
        if inner.code is not None:
            if inner.code.dynamic:
                self._opaque(fetched)
            else:
                self.script(inner.code.text, command.stdin)
        feed = command.stdin
        if inner.source != STDIN_CODE or feed is None:
            return
        if feed.fetched:
            self.marks.add("pipe-to-shell")
        elif command.name in SHELLS and feed.text is not None:
            self.script(feed.text)
        elif command.name in SHELLS and not feed.file:
            self.unclear = True

    def _opaque(self, fetched: bool) -> None:
        """Code whose text is not known. When it comes out of a download, that is the hazard itself."""
        self.unclear = True
        if fetched:
            self.marks.add("pipe-to-shell")

    def _chdir(self, words: Sequence[Word]) -> None:
        target = next((word for word in words if not word.text.startswith("-") or word.text == "-"), Word("~"))
        unknown = target.dynamic or target.text == "-" or (self._cwd == UNKNOWN and target.text[:1] not in "/~")
        self._cwd = UNKNOWN if unknown else resolve(target.text, self._cwd)

    def _emit(self, command: Command) -> None:
        if len(self.commands) > MAX_COMMANDS:
            self.unclear = True
            return
        self.commands.append(command)


_HEREDOC_PARTS: Final = frozenset({"heredoc_start", "heredoc_body", "heredoc_end", "file_redirect"})
