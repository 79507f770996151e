"""Why a bundle decided as it did: each rule of the tool in order, up to the one that decided, with what its condition
said about the inputs that were recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from app.domain.bounds import Refusal, measure
from app.domain.canonical import Json
from app.domain.expressions import evaluate
from app.domain.policy import Bundle, Rule
from app.domain.policy_logic import conjuncts

Says: TypeAlias = Literal["matched", "not matched", "failed"]
WORDS: Final[dict[bool | None, Says]] = {True: "matched", False: "not matched", None: "failed"}


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that was looked at. `parts`: the conditions joined by `&&` that were not true, as they are written."""

    rule: Rule
    says: Says
    parts: tuple[str, ...] = ()


def explain(bundle: Bundle, inputs: Json) -> list[Step]:
    """The rules of the recorded tool in order, up to the first one that matched or could not be decided; all of them
    when none did. Empty for a tool that the bundle does not know, and for inputs past their bounds."""
    tool = str(inputs.get("tool", ""))
    size = measure(inputs)
    if bundle.effect_class(tool) is None or isinstance(size, Refusal):
        return []
    steps: list[Step] = []
    for rule in bundle.rules:
        if not rule.covers(tool):
            continue
        steps.append(_step(bundle, rule, inputs, max(size.elements, 1)))
        if steps[-1].says != "not matched":
            break
    return steps


def _step(bundle: Bundle, rule: Rule, inputs: Json, elements: int) -> Step:
    if rule.when is None:
        return Step(rule, "matched")
    worst = elements**rule.when.macro_depth
    answer = evaluate(rule.when.source, inputs, bundle.engine, worst)
    if answer:
        return Step(rule, "matched")
    parts = conjuncts(rule.when.source)
    untrue = [part for part in parts if evaluate(part, inputs, bundle.engine, worst) is not True]
    return Step(rule, WORDS[answer], tuple(untrue) if len(parts) > 1 else ())
