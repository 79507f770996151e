"""Prices: integers, always rounded up; a bound that really bounds."""

from __future__ import annotations

import pytest
from app.domain.errors import BadPolicy
from app.domain.pricing import HIDDEN_TOKENS, Price, cost_micro, parse_prices, usd_to_micro, worst_case_micro
from hypothesis import given
from hypothesis import strategies as st

PRICE = Price("m", 3_000_000, 15_000_000, 3_750_000, 300_000, "test", "2026-11-21", 6_000_000)
ROW = """[[prices]]
model = "{model}"
input = "3.00"
output = 15000000
cache_write = "3.75"
cache_read = "0.3"
source = "test"
date = "2026-11-21"
"""


@pytest.mark.parametrize(
    ("text", "micro"), [("5", 5_000_000), ("5.00", 5_000_000), ("0.000001", 1), ("12.5", 12_500_000), ("0", 0)]
)
def test_dollars_become_micro_dollars(text: str, micro: int) -> None:
    assert usd_to_micro(text) == micro


@pytest.mark.parametrize("text", ["", "-1", "1.", ".5", "1e3", "1.0000001", "1,00", " 1", "\u0661", "9" * 12])
def test_what_is_no_amount(text: str) -> None:
    assert usd_to_micro(text) is None


def test_costs_are_rounded_up() -> None:
    assert cost_micro({"input_tokens": 1}, PRICE) == 3
    cheap = Price("m", 1, 1, 1, 1, "test", "2026-11-21")
    assert cost_micro({"input_tokens": 1}, cheap) == 1
    assert cost_micro({}, PRICE) == 0
    assert cost_micro({"input_tokens": -5, "output_tokens": 2}, PRICE) == 30


def test_each_kind_of_token_has_its_price() -> None:
    usage = {"input_tokens": 10, "output_tokens": 20, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 40}
    assert cost_micro(usage, PRICE) == 455
    assert cost_micro({**usage, "ephemeral_1h_input_tokens": 30}, PRICE) == 522


@given(st.integers(0, 10**6), st.integers(0, 10**5), st.data())
def test_no_call_costs_more_than_its_worst_case(body: int, max_tokens: int, data: st.DataObject) -> None:
    left = body + HIDDEN_TOKENS
    usage = {"output_tokens": data.draw(st.integers(0, max_tokens))}
    for name in ("cache_creation_input_tokens", "cache_read_input_tokens", "input_tokens"):
        usage[name] = data.draw(st.integers(0, left))
        left -= usage[name]
    usage["ephemeral_1h_input_tokens"] = data.draw(st.integers(0, usage["cache_creation_input_tokens"]))
    assert cost_micro(usage, PRICE) <= worst_case_micro(body, max_tokens, PRICE)


def test_an_exact_name_wins_then_the_longest_prefix() -> None:
    table = parse_prices("".join(ROW.format(model=model) for model in ("a*", "a-b*", "a-b-c")), "p.toml")
    found = {model: getattr(table.find(model), "model", None) for model in ("a-b-c", "a-b-d", "a-x", "b", "")}
    assert found == {"a-b-c": "a-b-c", "a-b-d": "a-b*", "a-x": "a*", "b": None, "": None}


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (ROW.format(model="a") + ROW.format(model="a"), 10, "already"),
        (ROW.format(model="a*b"), 2, "model name"),
        (ROW.format(model="a").replace('"3.00"', '"free"'), 3, "dollars"),
        (ROW.format(model="a").replace('"3.00"', "-1"), 3, "integer"),
        (ROW.format(model="a").replace("15000000", "1.5"), 4, "integer"),
        (ROW.format(model="a").replace("2026-11-21", "yesterday"), 8, "date"),
        (ROW.format(model="a") + "extra = 1\n", 9, "unknown key"),
        (ROW.format(model="a").replace("cache_read", "#"), 1, "missing"),
    ],
)
def test_a_broken_table_is_named_with_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        parse_prices(text, "p.toml")
    assert caught.value.message.startswith(f"p.toml:{line}:"), caught.value.message
    assert reason in caught.value.message
