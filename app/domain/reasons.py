"""The one registry of reason codes: what each means and what a person can do about it. The API document, the README's
table and the tests are derived from here; a code that is not here does not exist."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why something was allowed, refused or asked. The text is the public, stable code."""

    ALLOW = "ALLOW"
    APPROVAL_REQUIRED = "APPROVAL_REQUIRED"
    APPROVED = "APPROVED"
    GRANTED = "GRANTED"
    APPROVAL_DENIED = "APPROVAL_DENIED"
    APPROVAL_TIMEOUT = "APPROVAL_TIMEOUT"
    POLICY_DENIED = "POLICY_DENIED"
    NO_RULE_MATCHED = "NO_RULE_MATCHED"
    POLICY_ERROR = "POLICY_ERROR"
    DENY_TOOL_NOT_FOUND = "DENY_TOOL_NOT_FOUND"
    SCHEMA_VIOLATION = "SCHEMA_VIOLATION"
    INPUT_TOO_LARGE = "INPUT_TOO_LARGE"
    INPUT_CHANGED = "INPUT_CHANGED"
    TOO_MANY_OPEN = "TOO_MANY_OPEN"
    SANDBOX_VIOLATION = "SANDBOX_VIOLATION"
    EGRESS_DENIED = "EGRESS_DENIED"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    MODEL_UNPRICED = "MODEL_UNPRICED"
    UNGATED_EFFECT = "UNGATED_EFFECT"
    EVIDENCE_REQUIRED = "EVIDENCE_REQUIRED"
    OBLIGATION_OPEN = "OBLIGATION_OPEN"
    FROZEN = "FROZEN"
    TOOL_DRIFT = "TOOL_DRIFT"
    OUTPUT_DRIFT = "OUTPUT_DRIFT"
    SELF_APPROVAL = "SELF_APPROVAL"
    COMPLETED = "COMPLETED"
    AGENT_FAILED = "AGENT_FAILED"
    INTERRUPTED = "INTERRUPTED"
    RUN_ENDED = "RUN_ENDED"
    RUN_STOPPED = "RUN_STOPPED"
    RUN_INTERRUPTED = "RUN_INTERRUPTED"
    LEDGER_UNAVAILABLE = "LEDGER_UNAVAILABLE"

    @property
    def meaning(self) -> str:
        """One sentence for a person: what happened."""
        return _TEXTS[self][0]

    @property
    def remedy(self) -> str:
        """One sentence for a person: what can be done about it."""
        return _TEXTS[self][1]


_TEXTS: dict[Reason, tuple[str, str]] = {
    Reason.ALLOW: ("A rule of the policy allows this.", "Nothing needs to be done."),
    Reason.APPROVAL_REQUIRED: ("A rule asks a person before this may happen.", "Answer the question in the inbox."),
    Reason.APPROVED: ("A person allowed this call.", "Nothing needs to be done."),
    Reason.GRANTED: (
        "A person gave a grant that covers this call, and it still stands.",
        "Nothing needs to be done; revoke the grant where it should not go on.",
    ),
    Reason.APPROVAL_DENIED: ("A person refused this call.", "Read the answer's reason; ask again in another way."),
    Reason.APPROVAL_TIMEOUT: (
        "Nobody answered in time, so the call was refused. It was not a denial.",
        "Ask again, or give the rule a longer timeout.",
    ),
    Reason.POLICY_DENIED: ("A rule of the policy refuses this.", "Take another way, or change the rule that is named."),
    Reason.NO_RULE_MATCHED: (
        "No rule of the policy speaks about this call, and what no rule allows is refused.",
        "Add a rule for this tool to the run's policy bundle.",
    ),
    Reason.POLICY_ERROR: (
        "A rule could not be decided (an error, a result that is not true or false, or a bound), so it is refused.",
        "Run `helm policy lint` on the bundle and correct the rule that is named.",
    ),
    Reason.DENY_TOOL_NOT_FOUND: (
        "The policy does not know a tool of this name.",
        "Declare the tool under [tools] in the policy bundle, or correct the name.",
    ),
    Reason.SCHEMA_VIOLATION: (
        "The arguments do not have the form that this tool takes.",
        "Send arguments that fit the tool's schema; numbers past 2^53 as strings, no NUL, no half surrogates.",
    ),
    Reason.INPUT_TOO_LARGE: (
        "The arguments are past a bound (bytes, elements or depth).",
        "Split the call, or pass the content through a file in the workspace.",
    ),
    Reason.INPUT_CHANGED: (
        "What was judged is not what would run: other arguments came, or a file that the call names has changed.",
        "Look at the new question, or make a new call: what was judged is what may run.",
    ),
    Reason.TOO_MANY_OPEN: (
        "Too many calls of this run are open at once.",
        "Let the calls that are under way come to an end first.",
    ),
    Reason.SANDBOX_VIOLATION: (
        "The call tries to leave the container or to damage what is outside the workspace.",
        "Work inside /workspace.",
    ),
    Reason.EGRESS_DENIED: (
        "The run may not connect to this host and port.",
        "Add the host and port under [[egress]] in the blueprint, if the run needs it.",
    ),
    Reason.BUDGET_EXCEEDED: (
        "The worst case of this call does not fit into what is left of the budget.",
        "Raise the run's budget, or let the run finish with a smaller request.",
    ),
    Reason.MODEL_UNPRICED: (
        "There is no price for this model, so its cost cannot be bounded.",
        "Add the model to prices.toml, or choose a model that is listed there.",
    ),
    Reason.EVIDENCE_REQUIRED: (
        "A rule asks for evidence that is not attached to the run, or that is not whole.",
        "Let a person attach what is named: `helm run evidence RUN --kind KIND --ref REF`, or on the run's page.",
    ),
    Reason.OBLIGATION_OPEN: (
        "An earlier action of this run left a duty open, and the next one of its kind waits for it.",
        "Do what is owed first, such as the health check that the policy names, and then ask again.",
    ),
    Reason.FROZEN: (
        "A person froze this run, its blueprint or everything; nothing is released while that stands.",
        "Wait until a person lifts the freeze: `helm unfreeze`.",
    ),
    Reason.TOOL_DRIFT: (
        "The tool says something else of itself than when it was pinned, so it is not called.",
        "Look at the difference in the inbox, then accept or reject it.",
    ),
    Reason.OUTPUT_DRIFT: (
        "The result does not have the form that the tool declares, so it was withheld. The call itself has happened.",
        "Look at the tool; do not call it again to get the result.",
    ),
    Reason.UNGATED_EFFECT: (
        "A tool ran, or says it ran, without a verdict that allowed it. The run was stopped.",
        "Look at the run's timeline; treat the workspace as untrusted.",
    ),
    Reason.SELF_APPROVAL: (
        "The agent tried to answer or to reach its own approval.",
        "Look at what the run was doing; an agent can never answer.",
    ),
    Reason.RUN_ENDED: ("The run has ended; nothing can be added to it.", "Start a new run."),
    Reason.COMPLETED: ("The agent says that its task is done.", "Read its result and look at the files."),
    Reason.AGENT_FAILED: (
        "The agent or its container ended before the task was done.",
        "Read the last events of the run; start it again when the cause is known.",
    ),
    Reason.INTERRUPTED: (
        "The agent was interrupted while this call waited for an answer.",
        "Nothing needs to be done; the agent asks again if it still wants to.",
    ),
    Reason.RUN_INTERRUPTED: (
        "The server was restarted and the run's container is gone.",
        "Look at what was under way, then stop the run or start a new one.",
    ),
    Reason.RUN_STOPPED: ("A person stopped the run.", "Start a new run when the cause is known."),
    Reason.LEDGER_UNAVAILABLE: (
        "The log cannot be written, and what cannot be recorded does not happen.",
        "Free disk space or repair the disk under $HELM_HOME; Helm goes on by itself.",
    ),
}
