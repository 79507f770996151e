"""Sample values of policies, grants and freezing."""

from __future__ import annotations

from dataclasses import replace

from app.web.rows import Tone
from app.web.views_plain import Page
from app.web.views_rules import (
    BundleFile,
    BundleRow,
    CaseRow,
    ChangedRow,
    FindingRow,
    FreezePage,
    GrantRow,
    GrantsPage,
    PoliciesPage,
    PolicyEditPage,
    RuleRow,
    Trial,
)

from tests.faces.samples import FROZEN, HASH, HOSTILE, HOUR, MIN, NOW, shell

BUNDLES = (
    BundleRow("default", "Safe by default", 14, 412),
    BundleRow("finance", "Money moves with two people", 9, 31),
    BundleRow("ops", "Changes to running systems", 12, 88),
)
RULES = (
    RuleRow(1, "shell-tripwire", "DENY", ("Bash",), "shell.hazards.size() > 0", "high", (), 3, "A hazardous command."),
    RuleRow(2, "read-workspace", "ALLOW", ("Read", "Glob", "Grep"), "file.inside", "low", (), 301),
    RuleRow(
        3,
        "outbound-mail",
        "ESCALATE",
        ("mcp__mail__*", "mcp__gmail__send_*", "mcp__outlook__send"),
        'has(args.to) && !args.to.endsWith("@example.com")\n&& agent.depth < 3',
        "irreversible",
        ("within 1 h", "2 people", "signed", "not who started it"),
        42,
        "Mail that leaves the house is asked about.",
    ),
    RuleRow(4, "web", "ESCALATE", ("WebFetch", "WebSearch"), "", "medium", ("within 1 h",), 0),
)
CASES = (
    CaseRow("reading in the workspace is fine", "Read", "ALLOW read-workspace", "ALLOW read-workspace", True),
    CaseRow("mail to a stranger is asked about", "mcp__mail__send_email", "ESCALATE outbound-mail", "DENY", False),
)
FINDINGS = (
    FindingRow("ops/rules.toml", 41, 8, True, "UNREACHABLE", "the rule 'web' can never decide: 'all' is before it"),
    FindingRow("ops/rules.toml", 3, 1, False, "NO_CASE", "no case of this bundle meets the rule 'web'"),
)
TEXT = "\n".join(
    [
        "[[rules]]",
        'id = "read-workspace"',
        'tools = ["Read", "Glob", "Grep"]',
        'when = "file.inside"',
        'verdict = "ALLOW"',
        "",
    ]
    * 12
)
FILES = (
    BundleFile("bundle.toml", 'name = "ops"\ntitle = "Changes to running systems"\n'),
    BundleFile("rules.toml", TEXT),
    BundleFile("ops.cases.toml", "[[cases]]\n"),
)
HISTORY = (
    ChangedRow(
        312, "r-1", "mcp__mail__send_email", "leadership@example.com", "ALLOW", "ESCALATE", "mail", "outbound-mail"
    ),
    ChangedRow(
        388, "r-1", "Bash", "git push --force origin release/2.4", "ESCALATE", "DENY", "shell", "shell-tripwire"
    ),
)
TRIAL = Trial(FINDINGS[1:], CASES[:1], HISTORY, 1_204, 3, 12, "sha256:" + HASH, True)
GRANTS = (
    GrantRow(
        "grant_1",
        "mcp__mail__send_email",
        "outbound-mail",
        "every run of market-intel",
        "",
        'args.to.endsWith("@example.com") && !args.to.contains(",")',
        6,
        20,
        "mara",
        NOW - 3 * HOUR,
        NOW + 5 * HOUR,
    ),
    GrantRow("grant_2", "WebFetch", "web", "q1-competitor-brief", "r-1", "", 0, 5, "ben", NOW - MIN, NOW + HOUR),
)
ENDED = (
    replace(GRANTS[0], id="grant_0", used=20, ended="used up"),
    replace(GRANTS[1], id="g3", ended="revoked by mara"),
)


def pages() -> dict[str, Page]:
    """Every one of them, by name."""
    policy = PoliciesPage(
        shell(),
        BUNDLES,
        BUNDLES[2],
        "Deploys and changes need evidence and a person; the sandbox does not.",
        "sha256:" + HASH,
        ("market-intel", "repo-care"),
        RULES,
    )
    edit = PolicyEditPage(shell(), "ops", FILES, "sha256:" + HASH)
    evil = (RuleRow(1, "evil", "ESCALATE", (HOSTILE,), HOSTILE, "high", (), 1, HOSTILE),)
    return {
        "policies": policy,
        "policy": replace(policy, opened=True),
        "policy-evil": replace(policy, opened=True, about=HOSTILE, rules=evil),
        "policies-none": PoliciesPage(shell(0), ()),
        "policy-edit": edit,
        "policy-tested": replace(edit, trial=TRIAL),
        "policy-broken": replace(
            edit,
            trial=Trial(FINDINGS, CASES, tested="sha256:" + HASH, says="One error is left.", tone=Tone.BAD),
        ),
        "policy-locked": replace(edit, locked="Only an owner may change policies; you may test one."),
        "grants": GrantsPage(shell(), GRANTS, ENDED),
        "grants-none": GrantsPage(shell(0)),
        "freeze": FreezePage(shell(), (), ("market-intel", "repo-care"), (("r-1", "q1-competitor-brief"),)),
        "freeze-on": FreezePage(
            shell(frozen=FROZEN),
            (*FROZEN, replace(FROZEN[0], scope="run", target="r-1", what="run q1-competitor-brief", reason="")),
            ("market-intel",),
        ),
        "freeze-viewer": FreezePage(shell(may_act=False), (), ("market-intel",)),
    }
