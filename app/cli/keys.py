"""`helm key`: the keys of model providers. A key comes in through a hidden prompt or stdin, never through the command
line, and is never shown again."""

from __future__ import annotations

import asyncio
import getpass
import os
import stat
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from app.adapters.door_client import DoorClient, DoorError
from app.adapters.providers import BASES, set_key, unset_key
from app.cli.exits import HELP, NEGATIVE, USAGE, Failure, run_program
from app.cli.output import print_json, safe, show, table
from app.settings import Settings, read_settings

_MOST: Final = 8_192
PROVIDERS: Final = " or ".join(BASES)

app = typer.Typer(add_completion=False, no_args_is_help=True, epilog=HELP, help="Keys of model providers.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Provider = Annotated[str, typer.Argument(help=PROVIDERS)]


@app.command("set")
def set_(provider: Provider, as_json: Json = False) -> None:
    """Store a key: asked for without echo, or read from stdin (helm key set anthropic < file)."""
    _check(provider)
    settings = read_settings(os.environ)
    key = _read()
    folder = _folder(settings)
    set_key(folder, provider, key)
    told = _tell_door(settings)
    if as_json:
        print_json({"provider": provider, "stored": True, "running_server_told": told})
        return
    print(f"The key for {provider} is stored in {safe(folder / provider)} (0600).")
    print("The running server uses it from now on." if told else "The server uses it when it starts.")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Which providers have a key. The keys themselves are never shown."""
    folder = read_settings(os.environ).keys / "providers"
    rows = [_status(name, folder / name) for name in BASES]
    if as_json:
        print_json({"keys": rows})
        return
    words = {True: "yes", False: "no"}
    show(
        table(
            ("provider", "stored", "closed to others", "file"),
            [
                (str(row["provider"]), words[bool(row["present"])], words[bool(row["private"])], str(row["path"]))
                for row in rows
            ],
        )
    )


@app.command()
def unset(provider: Provider, as_json: Json = False) -> int:
    """Delete a key. Exit code 1 when there was none."""
    _check(provider)
    settings = read_settings(os.environ)
    gone = unset_key(settings.keys / "providers", provider)
    told = _tell_door(settings) if gone else False
    if as_json:
        print_json({"provider": provider, "deleted": gone, "running_server_told": told})
    else:
        print(f"The key for {provider} is deleted." if gone else f"There was no key for {provider}.")
    return 0 if gone else NEGATIVE


def _check(provider: str) -> None:
    if provider not in BASES:
        raise Failure(f"a provider is {PROVIDERS}, not {provider[:40]!r}", USAGE)


def _read() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("Key (not shown): ")
    text = sys.stdin.read(_MOST + 1)
    if len(text) > _MOST:
        raise Failure("that is no key: it is longer than 8 KiB", USAGE)
    return text


def _folder(settings: Settings) -> Path:
    """The folder of keys. The server gives it to the door's user; before its first start it is ours."""
    for path in (settings.home, settings.keys):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings.keys / "providers"


def _tell_door(settings: Settings) -> bool:
    """Have a running door read the keys again; False when none runs."""
    try:
        asyncio.run(DoorClient(settings.door_folder, timeout=5.0).keys())
    except (DoorError, OSError):
        return False
    return True


def _status(name: str, path: Path) -> dict[str, object]:
    try:
        facts = path.lstat()
    except OSError:
        return {"provider": name, "present": False, "private": False, "path": str(path)}
    private = stat.S_ISREG(facts.st_mode) and not stat.S_IMODE(facts.st_mode) & 0o077
    return {"provider": name, "present": True, "private": private, "path": str(path)}


if __name__ == "__main__":
    run_program(app, "key")
