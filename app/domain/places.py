"""Paths as the container sees them: inside the workspace or not, and whether a secret is usually kept there. Lexical:
a symbolic link is not followed, because the policy has no file system; the container's mounts are the boundary."""

from __future__ import annotations

import posixpath
import re
from typing import Final

from app.domain.canonical import Json
from app.domain.verdict import WORKSPACE

HOME: Final = "~"
SCRATCH: Final = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 -- names to compare with, nothing is created there
_CREDENTIAL: Final = re.compile(
    r"(?:^|/)(?:\.ssh|\.aws|\.gnupg|\.kube|\.azure|\.config/(?:gcloud|gh)|\.docker/config\.json|\.netrc|\.pgpass"
    r"|\.git-credentials|\.claude/\.credentials\.json|id_(?:rsa|ed25519|ecdsa|dsa))(?:/|$)"
    r"|^/etc/(?:shadow|gshadow|sudoers)|^/proc/(?:[^/]+/)+environ$|^/proc/[^/]+/environ$"
)
_PATH_KEYS: Final = ("file_path", "notebook_path", "path")


def resolve(path: str, cwd: str) -> str:
    """The absolute, normalized form of a path; `~` stays in front of what lies in the home folder."""
    if path == "~" or path.startswith("~/"):
        rest = "/" + posixpath.normpath("/" + path[1:]).lstrip("/")
        return HOME if rest == "/" else HOME + rest
    joined = posixpath.normpath(posixpath.join(cwd, path))
    return "/" + joined.lstrip("/") if joined.startswith("/") else joined


def is_inside(path: str) -> bool:
    """Whether a resolved path is the workspace or lies in it."""
    return path == WORKSPACE or path.startswith(WORKSPACE + "/")


def is_scratch(path: str) -> bool:
    """Whether a resolved path lies in (and is not itself) a folder for temporary files."""
    return any(path.startswith(folder + "/") for folder in SCRATCH)


def is_credential(path: str) -> bool:
    """Whether secrets are usually kept at a resolved path."""
    return _CREDENTIAL.search(path) is not None


def file_view(args: Json, cwd: str) -> Json:
    """What a rule sees as `file`: the path that a file tool names. `known` is false when it names none."""
    path = next((args[key] for key in _PATH_KEYS if isinstance(args.get(key), str) and args[key]), None)
    if path is None:
        return {"path": "", "inside": False, "credential": False, "known": False}
    full = resolve(path, cwd)
    return {"path": full, "inside": is_inside(full), "credential": is_credential(full), "known": True}
