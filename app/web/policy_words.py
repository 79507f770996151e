"""What a policy says about a tool, in words for the page that starts a run: the rule that holds when no condition
applies, and how many rules before it answer otherwise."""

from __future__ import annotations

from typing import Final

from app.domain.policy import Bundle, Rule
from app.domain.verdict import Verdict
from app.web.rows import Tone
from app.web.views_plain import May

_STRICTEST_FIRST: Final = (Verdict.DENY, Verdict.ESCALATE, Verdict.ALLOW)
_REST: Final = {
    Verdict.DENY: ("refused", Tone.BAD),
    Verdict.ESCALATE: ("asks a person", Tone.NEED),
    Verdict.ALLOW: ("allowed", Tone.QUIET),
}
_VERB: Final = {Verdict.DENY: "refuse", Verdict.ESCALATE: "ask", Verdict.ALLOW: "allow"}


def policy_line(what: str, tool: str, bundle: Bundle) -> May:
    """The line for `tool`, shown as `what`. A tool that the bundle does not know is refused."""
    rest, exceptions = _rest(tool, bundle)
    words, tone = _REST[rest]
    told = [(verdict, ids) for verdict in _STRICTEST_FIRST if (ids := _ids(exceptions, verdict, rest))]
    counts = [f"{len(ids)} {_verb(verdict, ids)}" for verdict, ids in told]
    if counts:
        count, _, verb = counts[0].partition(" ")
        counts[0] = f"{count} {'rule' if count == '1' else 'rules'} {verb}"
        words = f"{words}; {', '.join(counts)}"
    return May(what, words, "; ".join(f"{', '.join(ids)} {_verb(verdict, ids)}" for verdict, ids in told), tone)


def _rest(tool: str, bundle: Bundle) -> tuple[Verdict, list[Rule]]:
    """The verdict where no condition applies, and the conditional rules that come before it."""
    if bundle.effect_class(tool) is None:
        return Verdict.DENY, []
    covering = [rule for rule in bundle.rules if rule.covers(tool)]
    at = next((index for index, rule in enumerate(covering) if rule.when is None), len(covering))
    return (covering[at].verdict if at < len(covering) else Verdict.DENY), covering[:at]


def _ids(rules: list[Rule], verdict: Verdict, rest: Verdict) -> list[str]:
    return [rule.id for rule in rules if rule.verdict is verdict and verdict is not rest]


def _verb(verdict: Verdict, ids: list[str]) -> str:
    return _VERB[verdict] + ("s" if len(ids) == 1 else "")
