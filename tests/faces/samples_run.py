"""Sample values of the run page: the run of the drawn pages, every other kind of line, and hostile lines."""

from __future__ import annotations

from app.web.rows import (
    AnswerState,
    ApprovalRow,
    CallDetail,
    CallRow,
    CallState,
    EgressRow,
    EndedRow,
    LaneRow,
    ModelRow,
    NoticeRow,
    RunStatus,
    SinceRow,
    StartedRow,
    SteeringRow,
    SteerMode,
    SteerState,
    TextRow,
    TimelineRow,
    Tone,
    TurnRow,
)
from app.web.views import CostlyCall, EgressLine, EvidenceTab, Money, RunHead, RunPage, SpendLine, SpendSeries, SpendTab

from tests.faces.samples import HASH, HOSTILE, HOUR, LONG, MIN, NOW, cents, shell


def rows() -> tuple[TimelineRow, ...]:
    """The timeline of the drawn run."""
    lane = "researcher"
    at = NOW - 40 * MIN
    inner: tuple[TimelineRow, ...] = (
        CallRow(
            "398", 398, at, "web_fetch", "northwind.example/plans", CallState.OK, 812, 0, detail_href="/d", lane=lane
        ),
        LaneRow(
            "399",
            "fact-checker",
            "fact-checker",
            399,
            403,
            at,
            6,
            cents(0.02),
            True,
            rows=(CallRow("400", 400, at, "web_fetch", "northwind.example/terms", CallState.OK, 310, 0, lane="fc"),),
            lane=lane,
        ),
        CallRow("404", 404, at, "write_file", "brief.md", CallState.OK, 40, 0, detail_href="/d", lane=lane),
        CallRow(
            "405", 405, at, "mcp__mail__send", "leadership@example", CallState.WAITING, detail_href="/d", lane=lane
        ),
        ApprovalRow(
            "411",
            411,
            at,
            "ap-1",
            "Send e-mail to leadership@",
            "outbound-email",
            expires_ms=NOW + 49 * MIN + 20_000,
            lane=lane,
        ),
    )
    return (
        StartedRow(
            "1",
            1,
            NOW - 59 * MIN,
            "market-intel",
            "mara",
            (("model", "sonnet-4-5"), ("policy", "9f2c…41ab"), ("image", "helm-agent")),
        ),
        TurnRow("t2", 2, NOW - 52 * MIN, 6 * MIN, cents(0.22)),
        SteeringRow(
            "39",
            39,
            NOW - 47 * MIN,
            "Leave out the Q4 guesses. Cite published prices only.",
            SteerMode.STEER,
            SteerState.SEEN,
            "You",
            41,
        ),
        CallRow("41", 41, at, "read_file", "brief/outline.md", CallState.OK, 12, 0, detail_href="/d"),
        ModelRow("43", 43, at, "claude-sonnet-4-5", 12_400, 842, cents(0.0512), 4_200),
        SinceRow("since", NOW - 25 * MIN),
        TurnRow("t7", 7, NOW - 21 * MIN, 21 * MIN, cents(0.48)),
        TextRow(
            "388",
            388,
            at,
            "I have published prices for four of five. The researcher will take Northwind and assemble the brief.",
        ),
        CallRow("389", 389, at, "web_fetch", "acme.example/pricing", CallState.OK, 1_240, 0, detail_href="/d"),
        EgressRow("390", 0, at, "acme.example", 443, True),
        CallRow(
            "392",
            392,
            at,
            "shell",
            "python3 scripts/collect.py --site contoso",
            CallState.FAILED,
            6_400,
            0,
            "exit 6",
            detail_href="/d",
        ),
        EgressRow("393", 393, at, "cdn.tracker.example", 443, False, "default-deny", "EGRESS_NOT_ALLOWED"),
        LaneRow("396", lane, lane, 396, 412, at, 14, cents(0.31), rows=inner),
    )


def other_rows() -> tuple[TimelineRow, ...]:
    """Every kind and state that the drawn run does not show."""
    at = NOW - 5 * MIN
    return (
        TurnRow("t9", 9, at),
        NoticeRow("500", 500, at, "The model link was lost and came back. Nothing was repeated.", Tone.QUIET),
        NoticeRow("501", 501, at, "Budget is nearly used: $4.62 of $5.00.", Tone.NEED),
        NoticeRow("502", 502, at, "The provider refused the key.", Tone.BAD, "Set a new one: helm key set anthropic"),
        CallRow(
            "503",
            503,
            at,
            "Bash",
            "rm -rf /workspace/build",
            CallState.DENIED,
            3,
            None,
            "",
            "no-recursive-delete",
            "TOOL_DENIED",
            "/d",
        ),
        CallRow("504", 504, at, "Bash", "pytest -q", CallState.RUNNING, None, None, detail_href="/d"),
        CallRow("505", 505, at, "mcp__mail__send", "ops@example", CallState.UNKNOWN, None, None, detail_href="/d"),
        CallRow(
            "506", 506, at, "Write", "src/app.py", CallState.EXPIRED, None, None, "", "writes-ask", detail_href="/d"
        ),
        SteeringRow("507", 507, at, "Stop after the first file.", SteerMode.QUEUE, SteerState.QUEUED, "You"),
        SteeringRow("508", 508, at, "Use the staging database.", SteerMode.STEER, SteerState.DELIVERED, "jon"),
        SteeringRow("509", 509, at, "Never mind.", SteerMode.INTERRUPT, SteerState.INDETERMINATE, "You"),
        SteeringRow("510", 510, at, "Too late.", SteerMode.QUEUE, SteerState.CANCELLED, "You"),
        ApprovalRow(
            "511",
            511,
            at,
            "ap-8",
            "Rotate the staging secret",
            "secrets-ask",
            AnswerState.EXECUTED,
            "allow",
            "mara",
            at + 9_000,
        ),
        ApprovalRow(
            "512",
            512,
            at,
            "ap-9",
            "Rotate the live secret",
            "secrets-ask",
            AnswerState.DELIVERED,
            "deny",
            "mara",
            at,
            "Not on a Friday.",
        ),
        ApprovalRow("513", 513, at, "ap-10", "Send e-mail to ops@", "outbound-email", AnswerState.EXPIRED),
        ApprovalRow("514", 514, at, "ap-11", "Write to /etc/hosts", "writes-ask", expires_ms=NOW + 3 * HOUR),
        EndedRow("520", 520, at, RunStatus.FINISHED, "The brief was sent.", cents(1.84), 520, 59 * MIN),
    )


def hostile_rows() -> tuple[TimelineRow, ...]:
    """Each kind, filled with text that wants to be code."""
    return (
        StartedRow("h1", 1, NOW, HOSTILE, HOSTILE, ((HOSTILE, HOSTILE),)),
        TextRow("h2", 2, NOW, HOSTILE),
        TextRow("h3", 3, NOW, LONG),
        CallRow("h4", 4, NOW, HOSTILE, LONG, CallState.DENIED, 1, 1, HOSTILE, HOSTILE, HOSTILE, "/d"),
        EgressRow("h5", 5, NOW, HOSTILE, 443, False, HOSTILE, HOSTILE),
        ApprovalRow("h6", 6, NOW, "ap-h", HOSTILE, HOSTILE),
        ApprovalRow("h7", 7, NOW, "ap-i", HOSTILE, HOSTILE, AnswerState.FAILED, "deny", HOSTILE, NOW, HOSTILE),
        SteeringRow("h8", 8, NOW, HOSTILE + LONG, SteerMode.STEER, SteerState.SEEN, HOSTILE, 9),
        ModelRow("h9", 9, NOW, HOSTILE, 1, 1, 1, 1, HOSTILE),
        NoticeRow("h10", 10, NOW, HOSTILE, Tone.BAD, HOSTILE),
        LaneRow("h11", "hx", HOSTILE, 1, 2, NOW, 1, 1, False, HOSTILE, (TextRow("h12", 12, NOW, HOSTILE, lane="hx"),)),
        EndedRow("h13", 13, NOW, RunStatus.FAILED, HOSTILE, 1, 1, 1),
    )


def spend() -> SpendTab:
    """The spend tab of the drawn run."""
    start = NOW - 59 * MIN

    def steps(total: float, part: float) -> tuple[tuple[int, int], ...]:
        count = 11
        return tuple((start + (n + 1) * 5 * MIN, cents(total * min(1, n / (count * part)))) for n in range(count))

    return SpendTab(
        Money(cents(1.84), cents(0.22), cents(5)),
        start,
        NOW,
        (
            SpendSeries("lead", steps(0.97, 0.8)),
            SpendSeries("researcher", steps(0.71, 1)),
            SpendSeries("fact-checker", steps(0.16, 1)),
        ),
        (
            SpendLine("lead", 118, 412_000, cents(0.97)),
            SpendLine("researcher", 96, 368_000, cents(0.71)),
            SpendLine("fact-checker", 31, 90_000, cents(0.16)),
        ),
        (SpendLine("sonnet", 141, 604_000, cents(1.49)), SpendLine("haiku", 104, 266_000, cents(0.35))),
        (CostlyCall(322, "lead, draft outline", cents(0.14)), CostlyCall(377, "researcher, read 6 pages", cents(0.11))),
        NOW - 4 * MIN,
        411,
        "Metered at the key proxy from the provider’s own usage. Prices of 1 November.",
    )


SAYS = {
    RunStatus.STOPPING: ("Its container is being killed.", "It counts as stopped only when all of it is gone."),
    RunStatus.INTERRUPTED: (
        "The server was restarted and the run’s container is gone.",
        "Nothing of it runs now. Stop it to close its log, or run it again.",
    ),
    RunStatus.FAILED: (
        "The container ended before the agent was done: out of memory <b>",
        "Read the last events of the run; start it again when the cause is known.",
    ),
    RunStatus.STOPPED: ("Stopped by a person.", "Its log stays."),
    RunStatus.FINISHED: ("The agent says that it is done.", "Its log stays."),
}


def head(status: RunStatus = RunStatus.WAITING, live: bool = True) -> RunHead:
    """The head of the drawn run."""
    return RunHead(
        "r-1",
        "q1-competitor-brief",
        "Compare five competitors’ Q1 pricing, write a two-page brief, e-mail it to leadership.",
        "market-intel",
        status,
        Money(cents(1.84), cents(0.22) if live else 0, cents(5)),
        NOW - 59 * MIN,
        can_stop=live,
        modes=(SteerMode.QUEUE, SteerMode.STEER, SteerMode.INTERRUPT) if live else (),
        approval="ap-1" if status is RunStatus.WAITING else "",
        says=SAYS.get(status, ("", ""))[0],
        todo=SAYS.get(status, ("", ""))[1],
        unknown=2 if status is RunStatus.INTERRUPTED else 0,
    )


EVIDENCE = EvidenceTab(
    412,
    1,
    412,
    HASH,
    "e5b1" + "77" * 28 + "c0de",
    True,
    NOW - 2 * MIN,
    "",
    HASH,
    (("intent", 96), ("verdict", 96), ("outcome", 93)),
)
EGRESS = (
    EgressLine("acme.example", 443, 12, 0, NOW - 9 * MIN, "market-sites"),
    EgressLine("northwind.example", 443, 8, 0, NOW - 6 * MIN, "market-sites"),
    EgressLine("cdn.tracker.example", 443, 0, 1, NOW - 20 * MIN, "default-deny"),
)


def run_page(lines: tuple[TimelineRow, ...] | None = None, run: RunHead | None = None, before: int = 0) -> RunPage:
    """The drawn run, or its frame around other lines."""
    return RunPage(shell(), run or head(), rows() if lines is None else lines, spend(), EVIDENCE, EGRESS, before, 412)


DETAIL = CallDetail(
    "392",
    '{\n  "command": "python3 scripts/collect.py --site contoso"\n}',
    "Traceback (most recent call last):\n  \x1b[31murllib.error.URLError\x1b[0m: blocked by the door",
    104,
    False,
    "ALLOW",
    "shell-in-workspace",
    "",
    "cooperative",
    HASH,
    (390, 391, 392, 394),
)
