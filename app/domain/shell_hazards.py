"""The table of command hazards: what a rule can name. Small on purpose; each row is a habit of accidents or of known
attacks, not a promise that nothing else is dangerous."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from app.domain.places import HOME, is_credential, is_inside, is_scratch
from app.domain.shell_words import Command, Word
from app.domain.verdict import WORKSPACE

SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash", "mksh", "fish", "rbash"})
DOWNLOADERS: Final = frozenset({"curl", "wget", "fetch", "aria2c", "lynx", "http", "https", "nc", "ncat"})
DECODERS: Final = frozenset({"base64", "base32", "xxd", "openssl", "uudecode", "gpg", "rev"})
_DEVICE: Final = re.compile(r"/dev/(?:sd|hd|vd|xvd|nvme|mmcblk|dm-|disk|loop|md|mem|kmem|port)")
_DISK_TOOLS: Final = re.compile(r"mkfs(?:\..+)?|mke2fs|mkswap|wipefs|fdisk|sfdisk|sgdisk|parted|blkdiscard")
_NETWORK_FILE: Final = re.compile(r"/dev/(?:tcp|udp)/")
_HISTORY: Final = re.compile(r"(?:^|/)\.(?:bash|zsh|sh|python|psql|mysql)_history$|^/var/log/")
_GLOB_END: Final = re.compile(r"/(?:\.?[*?.]*\*[*?.]*|\{[*.,?]+\}|\.\[[^/]*\]\*)$")
_REMOTE: Final = frozenset(
    {"ssh", "scp", "sftp", "telnet", "ftp", "kubectl", "helm", "terraform", "tofu", "pulumi", "ansible"}
    | {"ansible-playbook", "aws", "gcloud", "az", "doctl", "fly", "flyctl", "vercel", "netlify", "heroku", "wrangler"}
    | {"firebase", "serverless", "cdk", "psql", "mysql", "mariadb", "mongosh", "redis-cli", "sqlcmd", "mail", "mailx"}
    | {"sendmail", "mutt", "msmtp", "gh", "glab", "nc", "ncat", "netcat", "socat"}
)
_REMOTE_VERBS: Final[dict[str, frozenset[str]]] = {
    "git": frozenset({"push", "send-email", "send-pack"}),
    "npm": frozenset({"publish", "unpublish", "deprecate", "dist-tag", "owner", "access"}),
    "pnpm": frozenset({"publish"}),
    "yarn": frozenset({"publish"}),
    "bun": frozenset({"publish"}),
    "cargo": frozenset({"publish", "yank", "owner"}),
    "gem": frozenset({"push", "yank"}),
    "poetry": frozenset({"publish"}),
    "uv": frozenset({"publish"}),
    "hatch": frozenset({"publish"}),
    "flit": frozenset({"publish"}),
    "twine": frozenset({"upload"}),
    "docker": frozenset({"push", "login"}),
    "podman": frozenset({"push", "login"}),
    "mvn": frozenset({"deploy"}),
    "dotnet": frozenset({"push"}),
}


def hazards_of(command: Command) -> set[str]:
    """The names of all hazards of one command."""
    found = _removal(command)
    return found | {name for name, test in _TESTS.items() if test(command)}


def _removal(command: Command) -> set[str]:
    """Recursive removal: of a root, of something outside the workspace, or of something that is not known."""
    if command.name == "find" and any(word.text == "-delete" for word in command.words):
        return _find_delete(command)
    recursive = command.name == "rm" and command.flag("rR", "--recursive")
    if not recursive and not (command.name == "rm" and any("*" in word.text for word in command.words)):
        return set()
    targets = [root if word.text == "{}" else word for word in command.plain() for root in command.roots or (word,)]
    found = {_judge(command, word, filtered=bool(command.roots)) for word in targets}
    if command.extra:
        found.add("rm-unclear")
    return found - {""}


def _find_delete(command: Command) -> set[str]:
    filters = {word.text for word in command.words if word.text.startswith("-")} - {"-delete", "-depth", "-print"}
    roots = []
    for word in command.words:
        if word.text[:1] in "-(!":
            break
        roots.append(word)
    return {_judge(command, word, filtered=bool(filters)) for word in roots or [Word(".")]} - {""}


def _judge(command: Command, word: Word, *, filtered: bool) -> str:
    """What removing this target means. `filtered`: only some of what is in the folder is removed."""
    if word.dynamic:
        return "rm-unclear"
    whole = _GLOB_END.sub("", "/" + word.text)[1:] if word.bare else word.text
    emptied = whole != word.text
    path = command.path(whole or ("/" if word.text.startswith("/") else "."))
    if path == "?":
        return "rm-unclear"
    if path == WORKSPACE:
        return "" if filtered else "rm-root"
    if is_inside(path) or is_scratch(path) or (emptied and path in ("/tmp", "/var/tmp")):  # noqa: S108 -- compared
        return ""
    return "rm-root" if path in ("/", HOME) or path.count("/") == 1 else "rm-outside"


def _disk_write(command: Command) -> bool:
    if _DISK_TOOLS.fullmatch(command.name) is not None:
        return True
    if command.name in ("dd", "shred", "tee", "cp") and any(_DEVICE.search(word.text) for word in command.words):
        return command.name != "dd" or any(word.text.startswith("of=/dev/") for word in command.words)
    return any(">" in redirect and _DEVICE.search(redirect) for redirect in command.redirects)


def _credential_read(command: Command) -> bool:
    if command.name in ("echo", "printf") or (command.name == "git" and _verb(command) == "commit"):
        return False
    texts = [word.text for word in command.words]
    texts += [redirect.partition("<")[2].strip("< \"'") for redirect in command.redirects if "<" in redirect]
    parts = [part for text in texts for part in [text, *re.split(r"[=@,]", text)] if part]
    return any(is_credential(command.path(part.replace("$HOME", HOME).replace("${HOME}", HOME))) for part in parts)


def _history_wipe(command: Command) -> bool:
    if command.name == "history":
        return command.flag("cd")
    if command.name in ("rm", "shred", "truncate", "unlink", "ln", "cp", "mv", "tee"):
        return any(_HISTORY.search(command.path(word.text)) for word in command.plain())
    targets = [redirect.partition(">")[2].strip(">|& \"'") for redirect in command.redirects if ">" in redirect]
    return any(_HISTORY.search(command.path(target)) for target in targets if target)


def _reverse_shell(command: Command) -> bool:
    texts = [*command.redirects, *(word.text for word in command.words)]
    if any(_NETWORK_FILE.search(text) for text in texts) and command.name not in ("echo", "grep", "rg"):
        return True
    if command.name in ("nc", "ncat", "netcat"):
        return command.flag("ec", "--exec", "--sh-exec")
    return command.name == "socat" and any(re.search(r"(?i)\b(?:exec|system):", text) for text in texts)


def _self_approval(command: Command) -> bool:
    """The program that answers for people. It is not in the image and would reach nothing; the attempt is what counts.
    The words are none of those that Kubernetes' program of the same name knows."""
    return command.name == "helm" and _verb(command) in _OPERATOR


def _verb(command: Command) -> str:
    """The sub-command: the first word that is not an option, nor the value of an option of git."""
    skip = False
    for word in command.words:
        if skip:
            skip = False
        elif word.text in ("-C", "-c", "--git-dir", "--work-tree", "--prefix", "--context", "--manifest-path"):
            skip = True
        elif not word.text.startswith("-"):
            return word.text
    return ""


def _remote_effect(command: Command) -> bool:
    if command.name in _REMOTE:
        return not (len(command.words) == 1 and command.words[0].text in ("--version", "-V", "--help", "version"))
    if command.name == "rsync":
        return any(":" in word.text for word in command.plain())
    verbs = _REMOTE_VERBS.get(command.name, frozenset())
    if command.name == "docker" and any(word.text == "--push" for word in command.words):
        return True
    if command.name in ("mvn", "dotnet", "docker", "podman"):
        return any(word.text in verbs for word in command.plain())
    return _verb(command) in verbs


_OPERATOR: Final = frozenset(
    {"inbox", "approver", "grants", "freeze", "unfreeze", "people", "login-link", "token", "notices"}
)
_TESTS: Final[dict[str, Callable[[Command], bool]]] = {
    "disk-write": _disk_write,
    "credential-read": _credential_read,
    "history-wipe": _history_wipe,
    "reverse-shell": _reverse_shell,
    "remote-effect": _remote_effect,
    "self-approval": _self_approval,
}
HAZARDS: Final = frozenset({*_TESTS, "rm-root", "rm-outside", "rm-unclear", "fork-bomb", "pipe-to-shell"})
