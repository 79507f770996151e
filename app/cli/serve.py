"""`helm serve`: the server in the foreground, its address and a login link on stdout, its own messages as JSON lines on
stderr."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from typing import Annotated, Final

import structlog
import typer
import uvloop

from app import __version__
from app.adapters.door_client import DoorError
from app.bootstrap import until_signal
from app.cli.exits import HELP, NEGATIVE, OK, Failure, run_program
from app.cli.serving import Serving, serving
from app.demo import WorldError
from app.settings import Settings, read_settings

_QUIET: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "httpx", "httpcore", "litestar", "asyncio", "docker")

app = typer.Typer(add_completion=False)


@app.command(epilog=HELP)
def serve(
    as_json: Annotated[bool, typer.Option("--json", help="Print the addresses as one JSON document.")] = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", help="Stop when stdin ends.", hidden=True)] = False,
) -> int:
    """Start the server and stay with it. Ctrl-C or SIGTERM stops it in order (then the exit code is 0)."""
    settings = read_settings(os.environ)
    configure_logs(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, as_json, with_parent))


async def _serve(settings: Settings, as_json: bool, with_parent: bool) -> int:
    _end_on_signals(asyncio.current_task())
    try:
        async with serving(settings) as server:
            # What start-up made lives as long as the server: the collector need not look at it again.
            gc.collect()
            gc.freeze()
            _announce(server, as_json)
            warned = asyncio.create_task(_warn(server))
            await until_signal(_stdin_ends if with_parent else server.ended)
            warned.cancel()
            if not server.alive():
                raise Failure("the dashboard's listener ended by itself; the lines above may say why", NEGATIVE)
    except (DoorError, WorldError) as error:
        raise Failure(str(error), NEGATIVE) from None
    except asyncio.CancelledError:
        return OK
    return OK


async def _stdin_ends() -> None:
    """Return when whoever started us has gone, however it ended."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4_096):
        pass


def _end_on_signals(task: asyncio.Task[int] | None) -> None:
    """Who is told to stop while it is still starting unwinds what it had begun."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel if task is not None else loop.stop)


def _announce(server: Serving, as_json: bool) -> None:
    settings = server.settings
    url = settings.origins[0] if settings.origins else settings.url
    if as_json:
        facts = {"url": url, "login": server.link, "home": str(settings.home), "pid": os.getpid()}
        print(json.dumps({**facts, "version": __version__}), flush=True)
        return
    print(f"Helm {__version__} is ready:  {url}")
    print(f"Sign in (this link works once, for 15 minutes):\n  {server.link}", flush=True)
    if sys.stderr.isatty():
        print("Ctrl-C stops the server; runs go on and are taken up again.", file=sys.stderr, flush=True)


async def _warn(server: Serving) -> None:
    """Say on stderr what keeps runs from starting; the server itself works without."""
    report = await server.services.health.check()
    if not report.engine.ok:
        why = f"{report.engine.reason.rstrip('.')}. {report.engine.remedy}".strip()
        print(f"helm: no run can start: {why}", file=sys.stderr, flush=True)


def configure_logs(level: str) -> None:
    """JSON lines on stderr at `level`, from our own loggers and those of the libraries; chatty ones say errors only."""
    least = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    final: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(),
    ]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=final))
    logging.basicConfig(level=least, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(least, logging.ERROR))


if __name__ == "__main__":
    run_program(app, "serve")
