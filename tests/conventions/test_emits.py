"""The mark that holds tests to reason codes can fail."""

from __future__ import annotations

import pytest
from app.domain.reasons import Reason

from tests.emits import emits, says


async def test_a_marked_test_that_meets_its_codes_passes() -> None:
    @emits(Reason.ALLOW, Reason.FROZEN)
    async def good() -> None:
        says("ALLOW", Reason.ALLOW)
        says("FROZEN", Reason.FROZEN)

    await good()


async def test_a_marked_test_that_meets_none_fails() -> None:
    @emits(Reason.ALLOW)
    async def empty() -> None:
        return

    with pytest.raises(AssertionError, match="never said"):
        await empty()


async def test_another_code_fails() -> None:
    @emits(Reason.ALLOW)
    async def wrong() -> None:
        says("POLICY_DENIED", Reason.ALLOW)

    with pytest.raises(AssertionError, match="not ALLOW"):
        await wrong()
