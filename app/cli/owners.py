"""Who owns an installation on this machine, and the file that says who may come in."""

from __future__ import annotations

import os
import pwd
import re
from contextlib import ExitStack
from typing import Final

from app.adapters.clock import SystemClock
from app.adapters.passwords import Argon2Passwords
from app.adapters.people import SqlitePeople
from app.services.people import PeopleDesk
from app.settings import Settings

_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def open_people(settings: Settings) -> tuple[PeopleDesk, ExitStack]:
    """The desk over `people.db`, and what closes it again."""
    stack = ExitStack()
    store = SqlitePeople(settings.home / "people.db")
    stack.callback(store.close)
    return PeopleDesk(store, Argon2Passwords(), SystemClock()), stack


def local_account() -> str:
    """The account of who runs this: the system's user name, where it can be an account."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = ""
    return name if _ACCOUNT.fullmatch(name) else "owner"
