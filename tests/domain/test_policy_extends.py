"""Bundles that build on others: the order is written down, and nothing is silently replaced."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from app.domain.errors import BadPolicy
from app.domain.policy import Bundle, decide
from app.domain.policy_text import bundle_digest, parse_bundle

from tests.domain.policy_kit import ask, rule

Folder = Mapping[str, str]


def head(name: str, extends: str = "", more: str = "", tools: str = 'Read = "read"\n') -> str:
    line = f"extends = [{extends}]\n" if extends else ""
    return f'name = "{name}"\n{line}{more}[tools]\n{tools}'


def folder(name: str, rules: str, extends: str = "", more: str = "", tools: str = 'Read = "read"\n') -> Folder:
    return {"bundle.toml": head(name, extends, more, tools), "rules.toml": rules}


def load(name: str, *folders: Folder) -> Bundle:
    known = {one["bundle.toml"].split('"')[1]: one for one in folders}
    return parse_bundle(known[name], name, find=lambda n: (known[n], n) if n in known else None)


BASE = folder("base", rule("b", "DENY"))


def test_own_rules_stand_first_unless_it_says_after() -> None:
    own = folder("own", rule("a", "ALLOW"), '"base"')
    assert [r.id for r in load("own", own, BASE).rules] == ["a", "b"]
    after = folder("own", rule("a", "ALLOW"), '"base"', 'position = "after"\n')
    made = load("own", after, BASE)
    assert [r.id for r in made.rules] == ["b", "a"]
    assert decide(made, ask()).rule_ids == ("b",)
    assert [r.file for r in made.rules] == ["base/rules.toml", "own/rules.toml"]


def test_a_bundle_may_have_nothing_but_what_it_extends() -> None:
    own = {"bundle.toml": 'name = "own"\nextends = ["base"]\nrules = []\n'}
    assert [r.id for r in load("own", own, BASE).rules] == ["b"]


def test_the_digest_covers_all_of_the_resolved_text() -> None:
    own = folder("own", rule("a", "ALLOW"), '"base"')
    digest = load("own", own, BASE).digest
    assert digest == load("own", dict(own), dict(BASE)).digest
    assert digest != load("own", own, folder("base", rule("b", "DENY") + "\n")).digest
    assert digest != bundle_digest(own)
    assert load("base", BASE).digest == bundle_digest(BASE)


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ([folder("own", rule("b", "ALLOW"), '"base"'), BASE], r"base/rules.toml:1: .*'b' exists .* own/rules.toml:1"),
        ([folder("own", rule("a", "ALLOW"), '"none"')], r"own/bundle.toml:2: there is no bundle 'none'"),
        ([folder("own", rule("a", "ALLOW"), '"own"')], r"own/bundle.toml:2: a circle: own > own"),
        (
            [folder("own", rule("a", "ALLOW"), '"mid"'), folder("mid", rule("m", "DENY"), '"own"')],
            r"mid/bundle.toml:2: a circle: own > mid > own",
        ),
        (
            [
                folder("own", rule("a", "ALLOW"), '"mid", "base"'),
                folder("mid", rule("m", "DENY"), '"base"'),
                BASE,
            ],
            r"own/bundle.toml:2: 'base' is reached twice: by 'mid' and by 'own'",
        ),
        ([folder("own", rule("a", "ALLOW"), '"base", "base"'), BASE], r"own/bundle.toml:2: 'base' .* named twice"),
        ([folder("own", rule("a", "ALLOW"), more='position = "after"\n')], r"own/bundle.toml:2: 'position' belongs"),
        (
            [folder("own", rule("a", "ALLOW"), '"base"', tools='Read = "write"\n'), BASE],
            r"own/bundle.toml:4: 'Read' is write here .* read at base/bundle.toml:3",
        ),
        (
            [folder("own", rule("a", "ALLOW"), '"base"', tools='"R*" = "write"\n'), BASE],
            r"own/bundle.toml:4: 'R\*' is write here and takes over 'Read'",
        ),
    ],
)
def test_what_is_not_clear_is_refused_with_both_places(folders: list[Folder], words: str) -> None:
    with pytest.raises(BadPolicy, match=words):
        load("own", *folders)


def test_an_own_tool_may_narrow_an_extended_one() -> None:
    base = folder("base", rule("b", "DENY", tools="mcp__*"), tools='"mcp__*" = "write"\n')
    own = folder("own", rule("a", "ALLOW"), '"base"', tools='Read = "read"\nmcp__shop__pay = "money"\n')
    made = load("own", own, base)
    assert str(made.effect_class("mcp__shop__pay")) == "money"
    assert str(made.effect_class("mcp__shop__list")) == "write"
