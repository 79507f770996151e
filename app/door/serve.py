"""Starts the door: gives up its privileges, reads the keys, listens for the server's commands, ends at SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import encodings.idna  # noqa: F401  loaded now: after the change of user the program's own files may be out of reach
import gc
import signal
import stringprep  # noqa: F401  as above
import sys
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop

from app.door.control import Control
from app.door.gateway_client import Gateway
from app.door.house import House
from app.door.keys import KeyRing, open_folder
from app.door.limits import Caps
from app.door.lockdown import LockdownError, lock_down
from app.door.log import log
from app.door.upstreams import verified_tls

RESOLVER_THREADS = 16
SETTLE_SECONDS = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the door in its working directory until SIGTERM; returns the exit code."""
    options = _options(arguments)
    try:
        folder = options.keys_fd if options.keys_fd is not None else open_folder(options.keys)
        tls = verified_tls()
        lock_down(options.uid, options.gid, options.parent)
    except (LockdownError, OSError) as error:
        log("start.refused", error=str(error))
        return 1
    keys = KeyRing(folder)
    for problem in keys.load():
        log("key.refused", error=problem)
    try:
        uvloop.run(_serve(House(Gateway(), keys, tls, Caps())))
    except OSError as error:
        log("start.refused", error=str(error))
        return 1
    return 0


async def _serve(house: House) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve"))
    loop.set_exception_handler(_on_fault)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    control = Control(house)
    await control.listen()
    gc.freeze()
    log("up", keys=len(house.keys.names()))
    await stop.wait()
    await control.close()
    await house.gateway.settle(SETTLE_SECONDS)
    house.gateway.pool.close()
    log("down")


def _on_fault(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A fault of our own: its kind and place, never its text, which may quote what passed."""
    error = context.get("exception")
    frames = traceback.extract_tb(error.__traceback__) if isinstance(error, BaseException) else []
    where = f"{frames[-1].name}:{frames[-1].lineno}" if frames else ""
    log("fault", error=type(error).__name__, where=where)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app.door", description="Helm's door to the outside.")
    keys = parser.add_mutually_exclusive_group(required=True)
    keys.add_argument("--keys-fd", type=int, help="an inherited descriptor of the folder with the provider keys")
    keys.add_argument("--keys", help="the folder with the provider keys")
    parser.add_argument("--uid", type=int, help="become this user (from root)")
    parser.add_argument("--gid", type=int, help="become this group (default: the number of --uid)")
    parser.add_argument("--parent", type=int, help="end when this process ends")
    return parser.parse_args(arguments)


def run() -> None:
    """The entry of `python -m app.door`."""
    sys.exit(main())
