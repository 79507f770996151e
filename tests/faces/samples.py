"""Sample views: the run of the drawn pages, so that a picture can be laid beside its drawing, and hostile text."""

from __future__ import annotations

from app.web.payloads import Payload, payload_of
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
from app.web.views import (
    Answer,
    Card,
    CostlyCall,
    EgressLine,
    EvidenceTab,
    Fact,
    Filter,
    GuideStep,
    InboxItem,
    InboxPage,
    ItemKind,
    Money,
    Notice,
    PastDecision,
    RuleText,
    RunHead,
    RunPage,
    RunRow,
    RunsPage,
    Shell,
    SpendLine,
    SpendSeries,
    SpendTab,
    Touch,
)
from app.web.views_plain import (
    BlueprintRow,
    BlueprintsPage,
    Check,
    ErrorPage,
    EvidencePage,
    KeyStatus,
    LoginPage,
    LoginStep,
    May,
    Page,
    SessionRow,
    SettingsPage,
    StartForm,
)

NOW = 1_795_271_000_000  # 21 Nov 2026, 14:23 UTC
MIN = 60_000
HOUR = 60 * MIN
USD = 1_000_000
HASH = "9f2c" + "0d" * 28 + "41ab"

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'` \u202etxt.exe\u202c zero\u200bwidth "
    "\x1b[31mred\x1b[0m bell\x07 {{7*7}} {% raw %} \ud800 ${1} javascript:alert(3)"
)
LONG = "x" * 10_000


def cents(amount: float) -> int:
    """Micro-dollars."""
    return round(amount * USD)


def shell(count: int = 7, **more: object) -> Shell:
    """The frame of the drawn pages."""
    notices = more.get("notices", ())
    assert isinstance(notices, tuple)
    return Shell(
        "mara", "csrf-token", "helm.lan", count, 4, 6, cents(18.42), cents(1.1), cents(40), head=412, notices=notices
    )


EMAIL = {
    "from": "Helm agent <briefs@example>",
    "to": "leadership@example",
    "subject": "Q1 competitor brief: two price cuts, one new tier",
    "body": "Hello all,\n\nThe Q1 brief is attached. Three things changed since December:\n\n"
    "  • Northwind cut its Team plan from $29 to $24.\n"
    "  • Acme added a usage-based tier at $0.40 per 1,000 calls.\n"
    "  • Contoso withdrew its free plan for new accounts.\n\n"
    "Every figure links to a page captured on 21 November.",
    "attachments": ["brief.pdf"],
}
RULE = RuleText(
    "outbound-email",
    "policies/market.toml",
    (
        (41, "[[rule]]"),
        (42, 'id = "outbound-email"'),
        (43, "when = \"tool == 'mcp__mail__send'\""),
        (44, 'verdict = "ESCALATE"'),
    ),
)


def card(payload: Payload | None = None, answer: Answer | None = None, key: str = "ap-1") -> Card:
    """The permission of the drawn inbox."""
    state = answer or Answer()
    return Card(
        key,
        ItemKind.PERMISSION,
        "Send e-mail to leadership@",
        "r-1",
        "q1-competitor-brief",
        "researcher",
        "market-intel",
        411,
        1,
        7,
        NOW - 11 * MIN,
        Money(cents(1.84), cents(0.22), cents(5)),
        True,
        "Brief is complete, sending as instructed.",
        payload or payload_of("mcp__mail__send_email", EMAIL, HASH),
        (
            Fact("Caught by", "outbound-email", "approval required"),
            Fact("Can touch", "smtp.example:587", "nothing else"),
            Fact("Estimate", "$0.00", "no model call"),
            Fact("Grade", "Structural", "cannot be bypassed"),
            Fact("Undo", "Not possible", "leaves this network"),
            Fact("Expires", "15:12", "then refused as expired"),
        ),
        NOW + 49 * MIN + 20_000,
        True,
        state,
        ("allow", "deny") if state.state is AnswerState.OPEN else (),
        "",
        "ap-2",
        (
            Touch("globe", "smtp.example:587", "via mail gateway"),
            Touch("you", "4 people", "leadership@"),
            Touch("file", "brief.pdf", "leaves the network"),
        ),
        RULE,
        (
            PastDecision("research@example", True, NOW - 2 * HOUR),
            PastDecision("leadership@example", True, NOW - 7 * 24 * HOUR),
            PastDecision("all-staff@example", False, NOW - 14 * 24 * HOUR),
        ),
    )


def items() -> tuple[InboxItem, ...]:
    """The list of the drawn inbox."""
    p, u, a = ItemKind.PERMISSION, ItemKind.UNKNOWN, ItemKind.ATTENTION
    soon, unknown, when = "Expires soon", "Cannot be undone or unknown", "When you can"
    return (
        InboxItem(
            "ap-1",
            p,
            "Send e-mail to leadership@",
            "q1-competitor-brief",
            "researcher",
            "cannot be undone",
            soon,
            NOW - 11 * MIN,
            NOW + 49 * MIN + 20_000,
        ),
        InboxItem(
            "ap-2",
            p,
            "Push 3 commits to release/2.4",
            "nightly-deps",
            "lead",
            "force-push is off",
            soon,
            NOW - 8 * MIN,
            NOW + 112 * MIN + 20_000,
        ),
        InboxItem(
            "at-3",
            u,
            "Did refund 4471 arrive?",
            "support-refunds",
            "lead",
            "restarted mid-call",
            unknown,
            NOW - 18 * MIN,
        ),
        InboxItem(
            "at-4",
            ItemKind.BUDGET,
            "Cap of $10.00 reached",
            "weekly-digest",
            "",
            "next run 16:00 is held",
            "Blocks a schedule",
            NOW - 31 * MIN,
        ),
        InboxItem(
            "at-6",
            a,
            "No output for 14 min",
            "log-triage",
            "reader",
            "stalled? · last call shell",
            when,
            NOW - 14 * MIN,
        ),
        InboxItem(
            "at-7",
            a,
            "Matching failed at invoice 88",
            "invoice-match",
            "lead",
            "failed · agent error",
            when,
            NOW - 3 * HOUR,
            None,
            RunStatus.FAILED,
        ),
        InboxItem(
            "at-8",
            a,
            "Finished, wants review",
            "docs-links",
            "",
            "finished · 12 files +210 −96",
            when,
            NOW - 2 * HOUR,
            None,
            RunStatus.FINISHED,
        ),
    )


def attention() -> Card:
    """A run that failed: nothing to allow, something to look at."""
    return Card(
        "at-7",
        ItemKind.ATTENTION,
        "Matching failed at invoice 88",
        "r-12",
        "invoice-match",
        "lead",
        "finance",
        288,
        6,
        7,
        NOW - 3 * HOUR,
        Money(cents(0.57), 0, cents(3)),
        why="The agent ended with an error: upload.csv has no column “order_id”.",
        facts=(
            Fact("Ended", "failed", "AGENT_ERROR"),
            Fact("Last call", "Read upload.csv"),
            Fact("Took", "12 min", "61 calls"),
        ),
        available=("dismiss",),
        previous_key="at-6",
        next_key="at-8",
    )


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


def run_rows() -> tuple[RunRow, ...]:
    """The table of the drawn runs page."""
    s, now = RunStatus, NOW
    given: tuple[tuple[str, str, str, RunStatus, float, float, float, int, str], ...] = (
        ("q1-competitor-brief", "Compare five competitors’ Q1 pricing", "market-intel", s.WAITING, 1.84, 0.22, 5, 12_000, "1 permission, 49 min"),
        ("nightly-deps", "Update dependencies, run tests, push", "repo-care", s.WAITING, 0.66, 0.06, 3, 41_000, "1 permission, 1 h 52"),
        ("support-refunds", "Work through the refund queue", "support", s.UNKNOWN, 3.05, 0, 5, 18 * MIN, "Check 1 effect"),
        ("weekly-digest", "Summarise the week’s tickets", "digest", s.PARKED, 10, 0, 10, 31 * MIN, "Raise cap or stop"),
        ("log-triage", "Group new errors by cause", "triage", s.STALLED, 0.28, 0.02, 2, 14 * MIN, "Look, no output"),
        ("catalog-sync", "Reconcile price lists", "catalog", s.RUNNING, 1.92, 0.2, 4, 3_000, "1 question"),
        ("docs-i18n", "Translate the changed pages", "docs", s.RUNNING, 1.24, 0.24, 4, 1_000, ""),
        ("inbox-sorter", "Label and route new mail", "support", s.STARTING, 0.18, 0.04, 2, 6_000, ""),
        ("perf-bisect", "Find the commit that slowed start-up", "repo-care", s.PAUSED, 2.75, 0, 5, HOUR, ""),
        ("crawl-partners", "Refresh partner directory", "market-intel", s.INTERRUPTED, 0.8, 0, 2, 2 * HOUR, ""),
        ("docs-links", "Fix dead links in the handbook", "docs", s.FINISHED, 0.54, 0, 2, 2 * HOUR, "Review 12 files"),
        ("invoice-match", "Match invoices to orders", "finance", s.FAILED, 0.57, 0, 3, 3 * HOUR, ""),
        ("lead-scoring", "Score new sign-ups", "crm", s.STOPPED, 0.1, 0, 2, 5 * HOUR, ""),
        ("changelog", "Draft the 2.4 changelog", "docs", s.FINISHED, 0.24, 0, 2, 6 * HOUR, ""),
    )  # fmt: skip
    return tuple(
        RunRow(
            f"r-{number}",
            name,
            task,
            blueprint,
            status,
            Money(cents(spent), cents(reserved), cents(cap)),
            now - heard,
            needs,
            Tone.QUIET if needs.startswith("Review") else Tone.NEED,
        )
        for number, (name, task, blueprint, status, spent, reserved, cap, heard, needs) in enumerate(given, 1)
    )


FILTERS = (
    Filter("", "All", 14),
    Filter("needs", "Needs you", 7),
    Filter("running", "Running", 3),
    Filter("parked", "Parked or paused", 3),
    Filter("ended", "Ended", 4),
)
GUIDE = (
    GuideStep("Docker is running", True, "Engine 20.10, the agent image is built."),
    GuideStep(
        "Start a run that needs no key", False, "A scripted agent in a real container: it asks before it sends.",
        "/blueprints/market-brief", "Start the demo",
    ),
    GuideStep("Add a provider key", False, "For real models. It never enters a container.", command="helm key set anthropic"),
)  # fmt: skip
DOCKER_DOWN = Notice("Docker is not running.", "Runs cannot start. Start it:", "sudo systemctl start docker")
BLUEPRINTS = (
    BlueprintRow(
        "market-brief", "Market brief", "Fetch pages, write a table, send it by e-mail. It asks before it sends.",
        "claude-sonnet-4-5", cents(5), 3, NOW - 2 * HOUR, True,
    ),
    BlueprintRow("code-migration", "Code migration", "Edit files and run the tests.", "claude-sonnet-4-5", cents(5), 1, NOW - 3 * 24 * HOUR, True),
    BlueprintRow("rotate-secret", "Rotate a secret", "Asks twice, once for each place.", "claude-haiku-4-5", cents(1), 0, None, True),
)  # fmt: skip
MAYS = (
    May("Read, Glob, Grep in /workspace", "allowed", "rule read-workspace"),
    May("Write, Edit in /workspace", "allowed", "rule write-workspace"),
    May("mcp__mail__send", "asks you", "rule outbound-email", Tone.NEED),
    May("Bash", "refused", "no rule allows it", Tone.BAD),
    May("shop.helm.test:80", "allowed", "egress of this blueprint"),
    May("any other host", "refused", "default-deny", Tone.BAD),
)


def start_form(errors: tuple[tuple[str, str], ...] = (), blocked: Notice | None = None) -> StartForm:
    """The start form, as opened."""
    task = "Compare the shop’s prices with last month’s table, write a CSV, and send it to leadership."
    return StartForm(task, "market-brief-4", "5.00", errors, blocked)


DETAIL = CallDetail(
    "392",
    '{\n  "command": "python3 scripts/collect.py --site contoso"\n}',
    "Traceback (most recent call last):\n  \x1b[31murllib.error.URLError\x1b[0m: blocked by the door",
    104, False, "ALLOW", "shell-in-workspace", "", "cooperative", HASH, (390, 391, 392, 394),
)  # fmt: skip
COMMAND = payload_of(
    "Bash",
    {
        "command": 'cd /workspace && find . -name "*.pyc" -delete; git push --force origin release/2.4 | tee push.log',
        "description": "Clean up and push",
        "timeout": 120000,
    },
    HASH,
)
CHANGE = payload_of(
    "Edit",
    {
        "file_path": "/workspace/brief.md",
        "old_string": "# Q1 competitor brief\n\nPrices as of Q4, from memory.\n\n## Northwind\n- Team: $29 per seat",
        "new_string": "# Q1 competitor brief\n\nPrices as of 21 November, each with a source.\n\n## Northwind\n- Team: $24 per seat, was $29 [1]\n- Enterprise: on request [1]",
    },
    HASH,
)
REQUEST = payload_of("WebFetch", {"url": "https://acme.example/pricing?tier=team", "prompt": "Read the prices"}, HASH)
OTHER = payload_of("mcp__crm__note", {"account": 4471, "note": "Refund sent", "tags": ["refund", "q1"]}, HASH)
LONG_MAIL = payload_of("mcp__mail__send_email", EMAIL | {"body": EMAIL["body"] + "\n\nMore." * 60}, HASH)  # type: ignore[operator]
EVIL_MAIL = payload_of(
    "mcp__mail__send_email", {key: HOSTILE for key in EMAIL} | {"bcc": "spy@example", "x-" + HOSTILE: HOSTILE}, HASH
)


def pages() -> dict[str, Page]:
    """Every page in every state worth a look, by name."""
    inbox = InboxPage(shell(), items(), card())
    blank = shell(0)
    done = Answer(AnswerState.EXECUTED, "allow", "mara", NOW - 20_000)
    taken = Answer(AnswerState.DELIVERED, "deny", "jon", NOW - 60_000, "Not before the audit.", mine=False)
    sessions = (
        SessionRow("s1", "Chromium on Linux", "127.0.0.1", NOW - HOUR, NOW, True),
        SessionRow("s2", "Safari on iPhone", "192.168.1.20", NOW - 9 * HOUR, NOW - 40 * MIN),
    )
    keys = (
        KeyStatus("anthropic", True, True, "~/.helm/keys/providers/anthropic", "helm key set anthropic"),
        KeyStatus("openai", False, False, "~/.helm/keys/providers/openai", "helm key set openai"),
    )
    about = (
        ("Version", "0.1.0"),
        ("Home", "/root/.helm"),
        ("Engine", "Docker 20.10.24"),
        ("Image", "helm-agent:9f2c41ab"),
    )
    check = Check(True, NOW - 2 * MIN, 1_412, 840)
    kinds = (("intent.recorded", 412), ("verdict.given", 412), ("outcome.recorded", 398))
    evidence = EvidencePage(
        blank, 1_412, 1_412, HASH, NOW - MIN, EVIDENCE.key_id, "helm-log-1", "/root/.helm/helm.db", check, kinds
    )
    return {
        "inbox": inbox,
        "card": InboxPage(shell(), items(), card(), True),
        "card-long": InboxPage(shell(), items(), card(LONG_MAIL), True),
        "card-command": InboxPage(shell(), items(), card(COMMAND), True),
        "card-edit": InboxPage(shell(), items(), card(CHANGE), True),
        "card-http": InboxPage(shell(), items(), card(REQUEST), True),
        "card-json": InboxPage(shell(), items(), card(OTHER), True),
        "card-evil": InboxPage(shell(), items(), card(EVIL_MAIL), True),
        "card-done": InboxPage(shell(), items(), card(answer=done), True),
        "card-taken": InboxPage(shell(), items(), card(answer=taken), True),
        "card-expired": InboxPage(shell(), items(), card(answer=Answer(AnswerState.EXPIRED, at_ms=NOW - MIN)), True),
        "card-attention": InboxPage(shell(), items(), attention(), True),
        "inbox-empty": InboxPage(blank, (), running=2),
        "inbox-first": InboxPage(shell(0, notices=(DOCKER_DOWN,)), (), guide=GUIDE),
        "runs": RunsPage(shell(), run_rows(), FILTERS),
        "runs-none": RunsPage(blank, (), (Filter("", "All", 0),), guide=GUIDE),
        "runs-nomatch": RunsPage(shell(), (), FILTERS, "parked", "zzz"),
        "run": run_page(),
        "run-states": run_page(other_rows(), head(RunStatus.RUNNING), before=499),
        "run-over": run_page(other_rows()[-3:], head(RunStatus.FINISHED, live=False)),
        "run-new": RunPage(shell(), head(RunStatus.STARTING), (), SpendTab(Money(0, 0, cents(5)), NOW, NOW), EvidenceTab(1, 412, 412, HASH, HASH)),
        "run-evil": run_page(hostile_rows()),
        "blueprints": BlueprintsPage(blank, BLUEPRINTS, BLUEPRINTS[0], MAYS, start_form()),
        "blueprint": BlueprintsPage(blank, BLUEPRINTS, BLUEPRINTS[0], MAYS, start_form(), True),
        "blueprint-errors": BlueprintsPage(
            blank, BLUEPRINTS, BLUEPRINTS[0], MAYS,
            start_form((("task", "Write what the agent should do."), ("budget", "An amount above zero, like 5.00.")), DOCKER_DOWN), True,
        ),
        "evidence": evidence,
        "evidence-bad": EvidencePage(blank, 9, 9, HASH, NOW, HASH, "l", "/x", Check(False, NOW, 4, 2, "Receipt 5: the link to 4 does not fit.")),
        "settings": SettingsPage(shell(), keys, sessions, about),
        "login": LoginPage("t", LoginStep.ACCOUNT, host="helm.lan", link_command="make up"),
        "login-error": LoginPage("t", LoginStep.ACCOUNT, "mara", error="Account or password is wrong.", host="helm.lan"),
        "login-limited": LoginPage("t", LoginStep.ACCOUNT, "mara", retry_s=42, host="helm.lan"),
        "login-first": LoginPage("t", LoginStep.FIRST, "owner", "/login/first", host="helm.lan"),
        "login-spent": LoginPage("t", LoginStep.LINK_SPENT, host="helm.lan", link_command="make up"),
        "error": ErrorPage(404, "There is no such run", "r-99 is not in the log.", "It may be from another Helm.", "RUN_UNKNOWN", shell()),
        "error-out": ErrorPage(503, "The log cannot be written", "The disk is full.", "Free some space: Helm goes on by itself.", "LEDGER_UNAVAILABLE"),
    }  # fmt: skip
