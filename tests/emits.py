"""Which test shows which reason code. `@emits(Reason.X)` promises that the test meets X at a public door; `says` is how
it meets it. A marked test that ends well without having said its codes fails."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Final, ParamSpec

from app.domain.reasons import Reason

P = ParamSpec("P")
_MET: Final[ContextVar[set[Reason] | None]] = ContextVar("met", default=None)


def emits(*reasons: Reason) -> Callable[[Callable[P, Awaitable[None]]], Callable[P, Awaitable[None]]]:
    """Mark a test with the codes that it shows."""
    assert reasons

    def mark(test: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
        @functools.wraps(test)
        async def marked(*args: P.args, **kwargs: P.kwargs) -> None:
            met: set[Reason] = set()
            token = _MET.set(met)
            try:
                await test(*args, **kwargs)
            finally:
                _MET.reset(token)
            assert met >= set(reasons), f"never said: {sorted(set(reasons) - met)}"

        return marked

    return mark


def says(code: object, reason: Reason) -> None:
    """Assert that a public door said this code."""
    assert code == reason.value, f"{code!r}, not {reason.value}"
    met = _MET.get()
    if met is not None:
        met.add(reason)
