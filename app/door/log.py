"""One JSON line per event on standard error. Callers pass facts, never headers, bodies or keys.

A container that provokes lines without end loses them beyond MAX_PER_SECOND; how many is said.
"""

from __future__ import annotations

import json
import os
import sys
import time

MAX_VALUE = 512
# What happens all day; said only when the operator asks for it (HELM_LOG=info).
_ROUTINE = frozenset({"up", "down", "run.opened", "run.closed", "model", "egress", "refused"})
_TALKATIVE = os.environ.get("HELM_LOG", "") in ("debug", "info")
MAX_PER_SECOND = 500


class _Window:
    second = 0
    written = 0
    dropped = 0


def log(event: str, **facts: str | int | bool) -> None:
    """Write one event; long values are cut, and a broken stream loses the line rather than stopping the door."""
    if event in _ROUTINE and not _TALKATIVE:
        return
    now = time.time()
    if int(now) != _Window.second:
        dropped, _Window.second, _Window.written, _Window.dropped = _Window.dropped, int(now), 0, 0
        if dropped:
            log("log.dropped", lines=dropped)
    _Window.written += 1
    if _Window.written > MAX_PER_SECOND:
        _Window.dropped += 1
        return
    line: dict[str, str | int | bool] = {"at": round(now * 1000), "door": event}
    for key, value in facts.items():
        line[key] = value[:MAX_VALUE] if isinstance(value, str) else value
    try:
        sys.stderr.write(json.dumps(line) + "\n")
    except (OSError, ValueError):
        return
