"""What a model call may cost and did cost, in integer micro-dollars, always rounded up: an estimate that is too low
would let a run spend more than its cap. A model without a price has no bound, and is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.domain.toml_text import Table, read_toml

MILLION: Final = 1_000_000
# Tokens that the provider adds to a request by itself (its own preamble for tool use) and that no body byte pays for.
HIDDEN_TOKENS: Final = 4096
_USD: Final = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,6}))?")
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}\*?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FIELDS: Final = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_write": "cache_creation_input_tokens",
    "cache_read": "cache_read_input_tokens",
}


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars per million tokens of each kind, and where that was read."""

    model: str
    input: int
    output: int
    cache_write: int
    cache_read: int
    source: str
    date: str
    cache_write_1h: int = 0


@dataclass(frozen=True, slots=True)
class PriceTable:
    """All known prices. A model is found by its exact name, else by the longest `prefix*` that fits."""

    prices: tuple[Price, ...]

    def find(self, model: str) -> Price | None:
        """The price of `model`; None when it is not listed (MODEL_UNPRICED)."""
        best: Price | None = None
        for price in self.prices:
            if price.model == model:
                return price
            longer = best is None or len(price.model) > len(best.model)
            if price.model.endswith("*") and model.startswith(price.model[:-1]) and longer:
                best = price
        return best


def usd_to_micro(text: str) -> int | None:
    """Micro-dollars of a decimal string such as "5.00" (at most six decimals, no sign); None when it is not one."""
    found = _USD.fullmatch(text)
    if found is None:
        return None
    return int(found.group(1)) * MILLION + int((found.group(2) or "").ljust(6, "0") or 0)


def worst_case_micro(body_bytes: int, max_tokens: int, price: Price) -> int:
    """The most that a call can cost before it is made. A token is at least one byte of the body, so the body's bytes
    bound the input tokens; each is priced at the dearest kind of input, and the answer at `max_tokens`. It holds for
    content that is in the body, not for what the provider fetches on its own side."""
    dearest = max(price.input, price.cache_write, price.cache_write_1h, price.cache_read)
    return _up((max(body_bytes, 0) + HIDDEN_TOKENS) * dearest + max(max_tokens, 0) * price.output)


def cost_micro(usage: Mapping[str, int], price: Price) -> int:
    """What a call cost, from the provider's own usage numbers (Anthropic's names; a missing one counts as 0). Of the
    cache writes, `ephemeral_1h_input_tokens` (where it is given) are those that are kept for an hour."""
    total = 0
    for kind, name in _FIELDS.items():
        total += max(int(usage.get(name, 0) or 0), 0) * int(getattr(price, kind))
    total += max(int(usage.get("ephemeral_1h_input_tokens", 0) or 0), 0) * max(
        price.cache_write_1h - price.cache_write, 0
    )
    return _up(total)


def parse_prices(text: str, file: str) -> PriceTable:
    """The table of a prices.toml. Raises BadPolicy with file and line."""
    root = read_toml(text, file)
    root.closed("prices")
    prices = tuple(_price(row) for row in root.tables("prices"))
    seen: set[str] = set()
    for row, price in zip(root.tables("prices"), prices, strict=True):
        if price.model in seen:
            row.refuse("model", f"the model {price.model!r} has a price already")
        seen.add(price.model)
    return PriceTable(prices)


def _price(row: Table) -> Price:
    row.closed("model", "input", "output", "cache_write", "cache_write_1h", "cache_read", "source", "date")
    return Price(
        model=row.word("model", _MODEL, "a model name, with one * at its end at most"),
        input=_per_million(row, "input"),
        output=_per_million(row, "output"),
        cache_write=_per_million(row, "cache_write"),
        cache_read=_per_million(row, "cache_read"),
        cache_write_1h=_per_million(row, "cache_write_1h") if row.has("cache_write_1h") else 0,
        source=row.text("source"),
        date=row.word("date", _DATE, "a date such as 2026-11-21"),
    )


def _per_million(row: Table, key: str) -> int:
    """An integer is micro-dollars; a string is dollars, such as "3.00"."""
    value = row.data.get(key)
    if isinstance(value, str):
        micro = usd_to_micro(value)
        if micro is None:
            row.refuse(key, f'{key!r} must be dollars such as "3.00", at most six decimals')
        return micro
    return row.integer(key, high=10**12)


def _up(micro_times_million: int) -> int:
    return -(-micro_times_million // MILLION)
