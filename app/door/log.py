"""One JSON line per event on standard error. Callers pass facts, never headers, bodies or keys."""

from __future__ import annotations

import json
import sys
import time

MAX_VALUE = 512


def log(event: str, **facts: str | int | bool) -> None:
    """Write one event; long values are cut, and a full pipe loses the line rather than stopping the door."""
    line: dict[str, str | int | bool] = {"at": round(time.time() * 1000), "door": event}
    for key, value in facts.items():
        line[key] = value[:MAX_VALUE] if isinstance(value, str) else value
    try:
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return
