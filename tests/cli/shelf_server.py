"""A real server whose containers stand on a shelf: everything but Docker. `python -m tests.cli.shelf_server`."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import uvloop
from app.bootstrap import until_signal
from app.cli.serve import configure_logs
from app.cli.serving import serving
from app.ports import EngineStatus, Exit, Start
from app.settings import read_settings


class Shelf:
    """Containers that only exist by name, also over a restart of the server."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._running: dict[str, asyncio.Future[Exit]] = {}

    async def probe(self) -> EngineStatus:
        return EngineStatus(ok=True, version="shelf")

    async def start(self, spec: Start) -> tuple[str, str]:
        self._keep({**self._kept(), spec.run: spec.lease})
        return "c" * 12, "helm-agent:shelf"

    async def wait(self, run: str) -> Exit:
        ended = self._running.setdefault(run, asyncio.get_running_loop().create_future())
        return await asyncio.shield(ended)

    async def kill(self, run: str) -> tuple[str, ...]:
        kept = self._kept()
        if kept.pop(run, None) is None:
            return ()
        self._keep(kept)
        ended = self._running.get(run)
        if ended is not None and not ended.done():
            ended.set_result(Exit(137, False, "killed"))
        return ("1 runner", "7 claude")

    async def pause(self, run: str) -> None:
        """Nothing goes on in a name."""

    async def unpause(self, run: str) -> None:
        """Nor does it now."""

    async def live(self) -> dict[str, int]:
        return self._kept()

    def _kept(self) -> dict[str, int]:
        return dict(json.loads(self._file.read_text())) if self._file.exists() else {}

    def _keep(self, runs: dict[str, int]) -> None:
        self._file.write_text(json.dumps(runs))


async def main() -> None:
    """Serve until a signal comes."""
    settings = read_settings(os.environ)
    configure_logs(settings.log_level)
    async with serving(settings, sandbox=Shelf(settings.home / "shelf.json")) as server:
        told = asyncio.create_task(until_signal(server.ended))
        await asyncio.sleep(0)  # who reads the line may end us at once, and in order
        print(json.dumps({"url": server.settings.url, "login": server.link}), flush=True)
        await told


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
