"""What is wrong with a bundle that loads: rules that can never decide, tools that nobody speaks about, conditions that
fail where their author did not expect it. Every finding names file, line and column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.canonical import Json
from app.domain.expressions import INTERPRETED, evaluate
from app.domain.policy import Bundle, Rule, ToolGlob, decide
from app.domain.policy_cases import Case, second_opinion
from app.domain.policy_logic import alternatives, covers, follows, meets, patterns
from app.domain.policy_types import compile_schemas, type_faults
from app.domain.toml_text import Spot

ERROR: Final = "error"
WARNING: Final = "warning"
_AT: Final = re.compile(r"(?P<file>.*?):(?P<line>\d+)(?::(?P<column>\d+))?: (?P<reason>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, where, and why. `level`: an error makes a rule or a tool useless or undecidable."""

    file: str
    line: int
    column: int
    level: str
    code: str
    message: str
    rule: str = ""

    def text(self) -> str:
        """`file:line:column: level CODE: message`, as editors read it."""
        return f"{self.file}:{self.line}:{self.column}: {self.level} {self.code}: {self.message}"


def load_finding(message: str) -> Finding:
    """The finding for a file that does not load, from the words of its error."""
    found = _AT.fullmatch(message)
    if found is None:
        return Finding("", 1, 1, ERROR, "LOAD", message)
    return Finding(found["file"], int(found["line"]), int(found["column"] or 1), ERROR, "LOAD", found["reason"])


def lint_bundle(
    bundle: Bundle, texts: Mapping[str, str], cases: Sequence[Case] = (), schemas: Mapping[str, Json] | None = None
) -> list[Finding]:
    """Every finding, in order of file and line. `texts`: the files by the names that the rules' `file` give; `schemas`:
    JSON Schemas of what tools take, by a glob of their names."""
    linter = _Linter(bundle, texts, schemas or {})
    found = [*linter.rules(), *linter.tools(), *linter.cases(cases)]
    return sorted(set(found), key=lambda f: (f.file, f.line, f.column, f.code))


class _Linter:
    """One pass over one bundle."""

    def __init__(self, bundle: Bundle, texts: Mapping[str, str], schemas: Mapping[str, Json]) -> None:
        self._bundle, self._texts, self._schemas = bundle, texts, compile_schemas(schemas)

    def rules(self) -> Iterator[Finding]:
        for at, rule in enumerate(self._bundle.rules):
            yield from self._reach(rule, self._bundle.rules[:at])
            if rule.when is not None:
                yield from self._condition(rule, rule.when.source)
                for fault in type_faults(rule, self._schemas):
                    level = ERROR if fault.certain else WARNING
                    yield self._at_rule(rule, fault.word, level, fault.code, fault.message)

    def _reach(self, rule: Rule, earlier: Sequence[Rule]) -> Iterator[Finding]:
        """Whether the rule can decide anything: its tools exist, its condition can hold, no earlier rule is faster."""
        source = rule.when.source if rule.when is not None else None
        if not alternatives(source):
            yield self._at_rule(rule, "when", ERROR, "NEVER_MATCHES", "the condition is never true")
            return
        faster = [other for other in earlier if follows(other.when.source if other.when else None, source)]
        hidden: dict[str, Rule] = {}
        known = 0
        for glob in rule.tools:
            pieces = self._pieces(glob)
            known += bool(pieces)
            if not pieces:
                yield self._at_rule(rule, glob.text, ERROR, "UNKNOWN_TOOL", f"no tool under [tools] fits {glob.text!r}")
                continue
            first = [_first_cover(faster, piece) for piece in pieces]
            if all(other is not None for other in first):
                hidden[glob.text] = next(other for other in first if other is not None)
        if not known:
            yield self._at_rule(rule, "", ERROR, "NEVER_MATCHES", "none of its tools is under [tools]")
        elif len(hidden) == known:
            other = next(iter(hidden.values()))
            words = f"it can never decide: {_named(other)} covers its tools before, {_why(other)}"
            yield self._at_rule(rule, "", ERROR, "UNREACHABLE", words)
            if _folder(other) == _folder(rule):  # to stand before a rule of an extended bundle is what `extends` is for
                yield self._at_rule(other, "", WARNING, "SHADOWS", f"it decides before {_named(rule)} ever can")
        else:
            for text, other in hidden.items():
                words = f"{text!r} is decided by {_named(other)} before, {_why(other)}"
                yield self._at_rule(rule, text, WARNING, "SHADOWED", words)

    def _pieces(self, glob: ToolGlob) -> list[ToolGlob]:
        """What a rule's glob can stand for: the narrower of it and each glob under [tools] that it meets."""
        return [tool if covers(glob, tool) else glob for tool, _ in self._bundle.tools if meets(glob, tool)]

    def _condition(self, rule: Rule, source: str) -> Iterator[Finding]:
        for offset, literal in patterns(source):
            if evaluate(f'"".matches({literal})', {}, INTERPRETED) is None:
                words = f"the pattern {literal[:60]} is not a regular expression (RE2): the rule can never be decided"
                yield self._at_rule(rule, literal, ERROR, "BAD_PATTERN", words, offset)
        reads = rule.when.reads if rule.when is not None else {}
        for field in sorted(reads.get("args") or ()):
            if not re.search(rf"has\s*\(\s*args\s*\.\s*{re.escape(field)}\b", source):
                words = (
                    f"args.{field} is read without has(args.{field}): a call without it is refused with POLICY_ERROR"
                )
                yield self._at_rule(rule, f"args.{field}", WARNING, "MAY_FAIL", words)

    def tools(self) -> Iterator[Finding]:
        for at, (glob, effect) in enumerate(self._bundle.tools):
            file, line, column = self._bundle.tool_places.get(glob.text, ("", 1, 1))
            for other, other_effect in self._bundle.tools[:at]:
                if covers(other, glob):
                    level = WARNING if effect is other_effect else ERROR
                    words = f"{glob.text!r} never counts: {other.text!r} above it fits the same tools first"
                    yield Finding(file, line, column, level, "HIDDEN_TOOL", words)
                    break
            if not any(meets(glob, named) for rule in self._bundle.rules for named in rule.tools):
                words = f"no rule speaks about {glob.text!r}: such a call is refused with NO_RULE_MATCHED"
                yield Finding(file, line, column, WARNING, "UNUSED_TOOL", words)

    def cases(self, cases: Sequence[Case]) -> Iterator[Finding]:
        other = second_opinion(self._bundle)
        for case in cases:
            first, second = decide(self._bundle, case.request), decide(other, case.request)
            if (first.verdict, first.rule_ids) != (second.verdict, second.rule_ids):
                words = f"the two CEL engines disagree on {case.name!r}: {first.verdict} and {second.verdict}"
                yield Finding(case.file, case.line, 1, ERROR, "ENGINES_DIFFER", words)

    def _at_rule(self, rule: Rule, word: str, level: str, code: str, message: str, skip: int = 0) -> Finding:
        """A finding at the first place of `word` inside the rule's table, or at the table."""
        spot = _find(self._texts.get(rule.file, ""), rule.line, word, skip)
        return Finding(rule.file, spot.line, spot.column, level, code, f"rule {rule.id!r}: {message}", rule.id)


def _first_cover(rules: Sequence[Rule], piece: ToolGlob) -> Rule | None:
    return next((rule for rule in rules if any(covers(glob, piece) for glob in rule.tools)), None)


def _named(rule: Rule) -> str:
    return f"rule {rule.id!r} ({rule.file.rsplit('/', 1)[-1]}:{rule.line})"


def _folder(rule: Rule) -> str:
    return rule.file.rpartition("/")[0]


def _why(rule: Rule) -> str:
    return "without a condition" if rule.when is None else "and its condition holds wherever this one does"


def _find(text: str, start: int, word: str, skip: int) -> Spot:
    """Where `word` stands in the table that starts on line `start`."""
    lines = text.split("\n")[start - 1 :]
    end = next((at for at, line in enumerate(lines) if at and line.startswith("[[")), len(lines))
    for at, line in enumerate(lines[:end] if word else []):
        column = line.find(word)
        if column >= 0:
            return Spot(start + at, column + 1)
    return Spot(start, 1)
