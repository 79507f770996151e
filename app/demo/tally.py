"""What the model server was asked and what it said that this cost, so that a test can compare spend.

One JSON line per request; keys appear only as fingerprints. A line is written when the
answer has ended, however it ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path

from app.demo.conversation import Conversation


class Tally:
    """An append-only JSONL file and the number of answers that are still being given."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = asyncio.Event()
        self.open = 0
        self.answered = len(read_lines(path))

    def begin(self) -> None:
        """An answer is being given; `add` ends it."""
        self.open += 1
        self._wake()

    def add(self, line: Mapping[str, object]) -> None:
        text = json.dumps({"time": round(time.time(), 3), **line}, ensure_ascii=False)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        self.open -= 1
        self.answered += 1
        self._wake()

    async def until(self, open_answers: int, answered: int, seconds: float) -> bool:
        """Wait until at least so many answers are being given and so many were given; False when time passes first."""
        try:
            async with asyncio.timeout(seconds):
                while self.open < open_answers or self.answered < answered:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        """Each waiter looks again; the next change gets an event of its own."""
        self._changed.set()
        self._changed = asyncio.Event()

    def entries(self) -> list[dict[str, object]]:
        return read_lines(self._path)


def read_lines(path: Path) -> list[dict[str, object]]:
    """The objects of a JSONL file; none where there is no file yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def fingerprint(secret: str) -> str:
    """Enough to tell keys apart, not enough to use one."""
    return hashlib.sha256(secret.encode()).hexdigest()[:12] if secret else ""


def estimate(body: Mapping[str, object], talk: Conversation, stated: Mapping[str, int], said: int) -> dict[str, int]:
    """Token counts in Anthropic's four fields: four characters per token, everything up to the last answer was cached.

    `stated` comes from the scenario and wins; `said` is the number of characters of the answer.
    """
    messages = body.get("messages")
    rows = messages if isinstance(messages, list) else []
    last = max((n for n, message in enumerate(talk.messages) if message.role == "assistant"), default=-1)
    fresh = _size(rows[len(rows) - len(talk.messages) + last + 1 :])
    fixed = _size([body.get("system"), body.get("tools")])
    before = _size(rows) - fresh
    usage = {
        "input_tokens": max(1, fresh // 4),
        "cache_creation_input_tokens": fixed // 4 if last < 0 else 0,
        "cache_read_input_tokens": 0 if last < 0 else (fixed + before) // 4,
        "output_tokens": max(1, said // 4),
    }
    return {**usage, **stated}


def _size(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False))
