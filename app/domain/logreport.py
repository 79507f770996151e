"""What a check of the log found: errors and warnings with the verifier's codes (EVIDENCE 5.4), counted all, listed few,
and always the list of what no check of this kind can prove."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

LISTED_PER_CODE: Final = 20  # one broken line makes every later root differ: list the beginning, count the rest
NOT_PROVED: Final = (
    "that the agent was right or safe",
    "that inputs and outputs were true",
    "that actions outside the gate did not happen",
    "that nothing was cut off after the last receipt, or rewritten by who holds the signing key:"
    " keep the head and the root somewhere else and compare",
    "the times: they are the server's own claims",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found, at one place of the log; `seq` is -1 where it concerns the whole."""

    code: str
    seq: int
    message: str


@dataclass(slots=True)
class Findings:
    """Findings on their way into a report; at most LISTED_PER_CODE are kept for each code."""

    listed: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, code: str, seq: int, message: str) -> None:
        """Note one finding."""
        self.counts[code] += 1
        if self.counts[code] <= LISTED_PER_CODE:
            # What a line says ends up on a terminal: nothing in it may move a cursor.
            shown = "".join(char if char.isprintable() else "?" for char in message[:300])
            self.listed.append(Finding(code, seq, shown))


Facts: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LogReport:
    """The result of checking a log. `ok` is True only when nothing at all was wrong and a trusted key signed."""

    log: str
    receipts: int
    runs: int
    open_runs: int
    head: str
    root: str
    newest: str  # the time that the last receipt claims
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    error_counts: dict[str, int]
    warning_counts: dict[str, int]
    facts: Facts = field(default_factory=dict)
    not_proved: tuple[str, ...] = NOT_PROVED

    @property
    def ok(self) -> bool:
        """Whether the log verifies."""
        return not self.errors

    def as_json(self) -> dict[str, Any]:
        """The report as `helm verify-log --json` prints it."""
        return {
            "ok": self.ok,
            "log": self.log,
            "receipts": self.receipts,
            "runs": self.runs,
            "open_runs": self.open_runs,
            "head": self.head,
            "root": self.root,
            "newest": self.newest,
            "errors": [_plain(finding) for finding in self.errors],
            "error_counts": self.error_counts,
            "warnings": [_plain(finding) for finding in self.warnings],
            "warning_counts": self.warning_counts,
            "facts": self.facts,
            "not_proved": list(self.not_proved),
        }


def _plain(finding: Finding) -> dict[str, Any]:
    return {"code": finding.code, "seq": finding.seq, "message": finding.message}
