"""The real clock and the kernel's randomness."""

from __future__ import annotations

import os
import time
from pathlib import Path


class SystemClock:
    """Wall clock in milliseconds, monotonic nanoseconds, random bytes."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def mono_ns(self) -> int:
        return time.monotonic_ns()

    def entropy(self, size: int) -> bytes:
        return os.urandom(size)


def boot_id() -> str:
    """The kernel's id of this boot: tells a monotonic time of one boot from that of another. Never empty."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or "unknown"
    except OSError:
        return "unknown"
