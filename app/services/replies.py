"""What a person says to a question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from app.domain.content import Proof

MAX_REASON: Final = 2_000
MAX_USES: Final = 1_000
MAX_LASTS_S: Final = 7 * 24 * 3600
NO_PROOF: Final = Proof("none", "")


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """What is allowed beside this one call: later calls of the same rule and tool, while the pattern (CEL; "" = always)
    is true of them, for `lasts_s` seconds and `uses` times."""

    scope: Literal["run", "blueprint"]
    pattern: str = ""
    lasts_s: int = 3_600
    uses: int = 20


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `edited` are the arguments that are allowed in place of those that were asked for; `at` is the time
    that a signed answer names."""

    answer: Literal["allow", "deny"]
    reason: str = ""
    edited: dict[str, Any] | None = None
    grant: GrantTerms | None = None
    proof: Proof = NO_PROOF
    at: str = ""
