"""What the door gives up before it reads a key or takes a connection: root, core dumps, debuggers, new privileges."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


class LockdownError(Exception):
    """A restriction could not be put in place: the door does not start."""


def lock_down(uid: int | None, gid: int | None, parent: int | None) -> None:
    """Become `uid`/`gid` (from root), then close the process to others; `parent` = die when that process dies."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if uid is not None:
        _become(uid, uid if gid is None else gid)
    # After the change of user: the kernel clears the death signal and the dumpable flag with it.
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    if parent is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            raise LockdownError("the server is gone already")


def _become(uid: int, gid: int) -> None:
    if os.geteuid() == uid and os.getuid() == uid:
        return
    if os.geteuid() != 0:
        raise LockdownError(f"only root can start the door as uid {uid}")
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid) or os.getgroups():
        raise LockdownError("the change of user did not hold")


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise LockdownError(f"prctl {option}: {os.strerror(ctypes.get_errno())}")
