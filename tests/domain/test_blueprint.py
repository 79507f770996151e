"""Blueprints: a closed schema, errors with file and line, a digest over everything."""

from __future__ import annotations

import pytest
from app.domain.blueprint import Blueprint, parse_blueprint
from app.domain.errors import BadPolicy

FULL = """name = "market-brief"
title = "Market brief"
description = "Reads pages, writes a brief."
model = "claude-sonnet-5"
policy = "default"
task = '''
Write the brief.
name = "not a key"
'''
tools = ["Read", "Bash", "mcp__mail__send"]
network = "sealed"
demo = true
max_turns = 40
timeout_minutes = 60

[budget]
usd = "5.00"

[[egress]]
host = "*.Example.com"

[[egress]]
host = "site.demo"
port = 8080
flags = ["http"]
address = "127.0.0.1"

[mcp.mail]
url = "demo:mail"

[workspace]
seed = "seeds/brief"

[[agents]]
name = "researcher"
description = "Reads"
prompt = "Read."
tools = ["Read"]

[resources]
memory = "512m"
cpus = "0.5"
pids = 128
"""
SMALL = 'name = "a"\nmodel = "m"\ntools = ["Read"]\n[budget]\nusd = "1"\n'


def parse(text: str) -> Blueprint:
    return parse_blueprint(text, "b.toml")


def test_everything_is_read() -> None:
    blueprint = parse(FULL)
    assert (blueprint.name, blueprint.budget_micro, blueprint.seed) == ("market-brief", 5_000_000, "seeds/brief")
    assert blueprint.task.startswith("Write the brief.")
    assert blueprint.mcp == (("mail", "demo:mail"),)
    assert blueprint.agents[0].tools == ("Read",)
    assert blueprint.resources.memory == "512m"


def test_defaults_are_tight() -> None:
    blueprint = parse(SMALL)
    assert (blueprint.network, blueprint.egress, blueprint.demo, blueprint.policy) == ("sealed", (), False, "default")
    assert blueprint.egress_match("example.com", 443) is None


def test_egress_matches_host_and_port() -> None:
    blueprint = parse(FULL)
    found = blueprint.egress_match("site.demo", 8080)
    assert found is not None
    assert found.address == "127.0.0.1"
    assert blueprint.egress_match("A.example.com.", 443) is not None
    for host, port in [
        ("example.com", 443),
        ("a.example.com", 80),
        ("aexample.com", 443),
        ("site.demo", 443),
        ("", 443),
    ]:
        assert blueprint.egress_match(host, port) is None


def test_the_digest_is_over_everything_and_nothing_else() -> None:
    assert parse(FULL).digest == parse(FULL.replace("\n\n", "\n# a remark\n\n")).digest
    assert parse(FULL).digest != parse(FULL.replace("Read.", "Read!")).digest
    assert parse(FULL).digest.startswith("sha256:")


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (FULL.replace("pids = 128", "pids = 2"), 43, "from 64"),
        (FULL.replace('"0.5"', '"lots"'), 42, "'cpus'"),
        (FULL.replace("port = 8080", "port = 0"), 24, "'port'"),
        (FULL.replace('"site.demo"', '"127.0.0.1"'), 23, ""),
        (FULL.replace('"*.Example.com"', '"*.com"'), 20, "too wide"),
        (FULL.replace('"*.Example.com"', '"a*b.com"'), 20, ""),
        (FULL.replace('["http"]', '["fast"]'), 23, "flag"),
        (FULL.replace('"demo:mail"', '"file:///etc"'), 29, "demo:NAME"),
        (FULL.replace('"demo:mail"', '"https://user@host/"'), 29, "user info"),
        (FULL.replace("seeds/brief", "../../etc"), 32, "climb"),
        (FULL.replace('"5.00"', '"-5"'), 17, "decimal"),
        (FULL.replace('"5.00"', '"0.00"'), 17, "decimal"),
        (FULL.replace('"5.00"', "5.0"), 17, "string"),
        (FULL.replace('"sealed"', '"host"'), 11, "sealed"),
        (FULL.replace("demo = true", "demo = 1"), 12, "true or false"),
        (FULL.replace("demo = true", "dema = true"), 12, "unknown key"),
        (FULL.replace('"Read", "Bash"', '"Read", "Read"'), 10, "twice"),
        (FULL.replace('"Bash"', '"Ba sh"'), 10, "tool's name"),
        (FULL.replace("[budget]", "[budgets]"), 16, "unknown key"),
        (FULL + '[[agents]]\nname = "researcher"\ndescription = "x"\nprompt = "x"\n', 45, "twice"),
        (SMALL.replace('name = "a"', 'name = "A b"'), 1, "lower-case"),
        (SMALL.replace('tools = ["Read"]', "tools = 'Read'"), 3, "list"),
        ("name = ", 1, "not valid TOML"),
        ("a = 1\na = 2\n", 2, "not valid TOML"),
        ("", 1, "missing"),
    ],
)
def test_a_broken_blueprint_is_named_with_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        parse(text)
    assert caught.value.message.startswith(f"b.toml:{line}:"), caught.value.message
    assert reason in caught.value.message


def test_how_soon_it_is_parked_counts_into_the_digest_only_where_it_is_said() -> None:
    plain = parse_blueprint(FULL, "b.toml")
    sooner = parse_blueprint(FULL.replace("timeout_minutes = 60", "timeout_minutes = 60\npark_after_s = 30"), "b.toml")
    assert (plain.park_after_s, sooner.park_after_s) == (None, 30)
    assert "park_after_s" not in plain.payload(), "blueprints from before keep their digest, and their runs"
    assert sooner.digest != plain.digest
