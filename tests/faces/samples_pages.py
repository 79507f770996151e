"""Every page in every state that is worth a look, so that a picture can be laid beside its drawing."""

from __future__ import annotations

from dataclasses import replace

from app.web.rows import AnswerState, RunStatus, Tone
from app.web.views import (
    Answer,
    EvidenceTab,
    Filter,
    GuideStep,
    InboxPage,
    Money,
    Notice,
    RunPage,
    RunRow,
    RunsPage,
    SpendTab,
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
    TokenRow,
    TokensBox,
)

from tests.faces import samples_rules
from tests.faces.samples import (
    CHANGE,
    COMMAND,
    EDITED,
    EVIL_MAIL,
    FILES,
    FROZEN,
    HASH,
    HOUR,
    LONG_MAIL,
    MIN,
    NOW,
    OTHER,
    REQUEST,
    attention,
    card,
    cents,
    ceremony,
    drift,
    items,
    shell,
    shell_card,
)
from tests.faces.samples_run import EVIDENCE, head, hostile_rows, other_rows, rows, run_page

TOKENS = TokensBox(
    "t",
    (
        TokenRow("t_1", "nightly <script>", NOW - 2 * HOUR),
        TokenRow("t_2", "dashboard on the wall", NOW - 40 * HOUR, NOW),
    ),
    example='curl -H "Authorization: Bearer $HELM_TOKEN" https://helm.lan/api/v1/runs',
)


def run_rows() -> tuple[RunRow, ...]:
    """The table of the drawn runs page."""
    s, now = RunStatus, NOW
    given: tuple[tuple[str, str, str, RunStatus, float, float, float, int, str], ...] = (
        (
            "q1-competitor-brief",
            "Compare five competitors’ Q1 pricing",
            "market-intel",
            s.WAITING,
            1.84,
            0.22,
            5,
            12_000,
            "1 permission, 49 min",
        ),
        (
            "nightly-deps",
            "Update dependencies, run tests, push",
            "repo-care",
            s.WAITING,
            0.66,
            0.06,
            3,
            41_000,
            "1 permission, 1 h 52",
        ),
        (
            "support-refunds",
            "Work through the refund queue",
            "support",
            s.UNKNOWN,
            3.05,
            0,
            5,
            18 * MIN,
            "Check 1 effect",
        ),
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
    )
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
        "Start a run that needs no key",
        False,
        "A scripted agent in a real container: it asks before it sends.",
        "/blueprints/market-brief",
        "Start the demo",
    ),
    GuideStep(
        "Add a provider key", False, "For real models. It never enters a container.", command="helm key set anthropic"
    ),
)
DOCKER_DOWN = Notice("Docker is not running.", "Runs cannot start. Start it:", "sudo systemctl start docker")
BLUEPRINTS = (
    BlueprintRow(
        "market-brief",
        "Market brief",
        "Fetch pages, write a table, send it by e-mail. It asks before it sends.",
        "claude-sonnet-4-5",
        cents(5),
        3,
        NOW - 2 * HOUR,
        True,
    ),
    BlueprintRow(
        "code-migration",
        "Code migration",
        "Edit files and run the tests.",
        "claude-sonnet-4-5",
        cents(5),
        1,
        NOW - 3 * 24 * HOUR,
        True,
    ),
    BlueprintRow(
        "rotate-secret",
        "Rotate a secret",
        "Asks twice, once for each place.",
        "claude-haiku-4-5",
        cents(1),
        0,
        None,
        True,
    ),
)
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
        "card-editing": InboxPage(shell(), items(), replace(card(), edit=EDITED, panel="edit"), True),
        "card-pattern": InboxPage(shell(), items(), replace(card(), panel="pattern"), True),
        "card-run-grant": InboxPage(shell(), items(), replace(card(), panel="run"), True),
        "card-shell-edit": InboxPage(shell(), items(), shell_card(), True),
        "card-trouble": InboxPage(
            shell(),
            items(),
            replace(
                card(), panel="deny", typed="Not yet", trouble="The log cannot be written, so nothing was answered."
            ),
            True,
        ),
        "card-files": InboxPage(shell(), items(), replace(card(COMMAND), files=FILES), True),
        "card-ceremony": InboxPage(shell(), items(), ceremony(), True),
        "card-sign": InboxPage(
            shell(),
            items(),
            replace(ceremony(), available=("allow", "deny"), blocked="", not_before_ms=None, signs=True),
            True,
        ),
        "card-frozen": InboxPage(
            shell(frozen=FROZEN),
            items(),
            replace(card(), available=("deny",), blocked="mara froze everything; unfreeze it first."),
            True,
        ),
        "card-viewer": InboxPage(
            shell(may_act=False),
            items(),
            replace(card(), available=(), blocked="You may look, and not answer; an owner can give you another role."),
            True,
        ),
        "card-drift": InboxPage(shell(), items(), drift(), True),
        "card-moved": InboxPage(
            shell(), items(), replace(card(answer=Answer(AnswerState.WITHDRAWN)), moved_key="ap-9"), True
        ),
        "card-asked": InboxPage(
            shell(),
            items(),
            replace(card(answer=Answer(AnswerState.EXPIRED, at_ms=NOW - MIN)), available=("ask_again",)),
            True,
        ),
        "card-edited": InboxPage(
            shell(),
            items(),
            replace(
                card(answer=Answer(AnswerState.EXECUTED, "allow", "mara", NOW, how="edited")),
                edit_lines=EDITED.preview.lines,
            ),
            True,
        ),
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
        "run-over": run_page((*rows()[:-1], other_rows()[-1]), head(RunStatus.FINISHED, live=False)),
        "run-new": RunPage(
            shell(),
            head(RunStatus.STARTING),
            (),
            SpendTab(Money(0, 0, cents(5)), NOW, NOW),
            EvidenceTab(1, 412, 412, HASH, HASH),
        ),
        "run-evil": run_page(hostile_rows()),
        "blueprints": BlueprintsPage(blank, BLUEPRINTS, BLUEPRINTS[0], MAYS, start_form()),
        "blueprint": BlueprintsPage(blank, BLUEPRINTS, BLUEPRINTS[0], MAYS, start_form(), True),
        "blueprint-errors": BlueprintsPage(
            blank,
            BLUEPRINTS,
            BLUEPRINTS[0],
            MAYS,
            start_form(
                (("task", "Write what the agent should do."), ("budget", "An amount above zero, like 5.00.")),
                DOCKER_DOWN,
            ),
            True,
        ),
        "evidence": evidence,
        "evidence-bad": EvidencePage(
            blank, 9, 9, HASH, NOW, HASH, "l", "/x", Check(False, NOW, 4, 2, "Receipt 5: the link to 4 does not fit.")
        ),
        "run-failed": run_page(rows()[:-1], head(RunStatus.FAILED, live=False)),
        "run-interrupted": run_page(rows()[:-1], replace(head(RunStatus.INTERRUPTED), modes=())),
        "settings": SettingsPage(shell(), keys, sessions, about, TOKENS),
        "settings-new": SettingsPage(
            shell(), keys, sessions, about, replace(TOKENS, secret="helm_" + "k" * 43), asks_password=False
        ),
        "login": LoginPage("t", LoginStep.ACCOUNT, host="helm.lan", link_command="make up"),
        "login-error": LoginPage(
            "t", LoginStep.ACCOUNT, "mara", error="Account or password is wrong.", host="helm.lan"
        ),
        "login-limited": LoginPage("t", LoginStep.ACCOUNT, "mara", retry_s=42, host="helm.lan"),
        "login-first": LoginPage("t", LoginStep.FIRST, "owner", "/login/first", host="helm.lan"),
        "login-spent": LoginPage("t", LoginStep.LINK_SPENT, host="helm.lan", link_command="make up"),
        "error": ErrorPage(
            404,
            "There is no such run",
            "r-99 is not in the log.",
            "It may be from another Helm.",
            "RUN_UNKNOWN",
            shell(),
        ),
        **samples_rules.pages(),
        "error-out": ErrorPage(
            503,
            "The log cannot be written",
            "The disk is full.",
            "Free some space: Helm goes on by itself.",
            "LEDGER_UNAVAILABLE",
        ),
    }
