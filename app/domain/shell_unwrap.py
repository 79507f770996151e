"""Programs that run another program: which of their words are the command that really runs, or the code."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.shell_hazards import SHELLS
from app.domain.shell_words import Command, Word

STDIN_CODE: Final = "stdin"
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
_PYTHON: Final = re.compile(r"(?:python|pypy)[0-9.]*")
_INTERPRETERS: Final = frozenset({"perl", "ruby", "node", "php", "deno", "bun"})
# Wrapper -> (options that take a value of their own, words that come before the command)
_WRAPPERS: Final[dict[str, tuple[str, int]]] = {
    "sudo": ("-u -g -h -p -C -T -U -r -t -D", 0),
    "doas": ("-u -C", 0),
    "env": ("-u -C --unset --chdir", 0),
    "nohup": ("", 0),
    "setsid": ("", 0),
    "nice": ("-n --adjustment", 0),
    "ionice": ("-c -n -p", 0),
    "chrt": ("", 1),
    "taskset": ("", 1),
    "timeout": ("-s -k --signal --kill-after", 1),
    "time": ("-f -o", 0),
    "stdbuf": ("-i -o -e", 0),
    "xargs": ("-I -n -P -L -d -a -E -s --max-args --max-procs --delimiter --arg-file", 0),
    "parallel": ("-j -N -a", 0),
    "command": ("", 0),
    "builtin": ("", 0),
    "exec": ("-a", 0),
    "coproc": ("", 0),
    "busybox": ("", 0),
    "watch": ("-n", 0),
    "strace": ("-e -o -p", 0),
    "unshare": ("", 0),
    "chroot": ("", 1),
    "flock": ("-w -E", 1),
    "npx": ("-p --package -c", 0),
    "bunx": ("", 0),
    "uvx": ("--from --with", 0),
    "pipx": ("", 1),
}


@dataclass(frozen=True, slots=True)
class Inner:
    """What a command runs itself. `extra`: it adds arguments that are not known here. `roots`: where `find` starts.
    `source` STDIN_CODE: it takes its code from its input."""

    words: tuple[Word, ...] = ()
    code: Word | None = None
    source: str = ""
    extra: bool = False
    roots: tuple[Word, ...] = ()
    unclear: bool = False


def unwrap(command: Command) -> Inner:
    """The inner command or code of a command; an empty Inner when it runs nothing else that can be seen."""
    if command.name in SHELLS:
        return _shell(command.words)
    if _PYTHON.fullmatch(command.name) is not None:
        return _python(command.words)
    if command.name in _INTERPRETERS:
        return Inner(source=STDIN_CODE) if _reads_stdin(command.words) else Inner()
    special = _SPECIAL.get(command.name)
    if special is not None:
        return special(command.words)
    if command.name in _WRAPPERS:
        return _wrapper(command.name, command.words)
    return Inner()


def _wrapper(name: str, words: Sequence[Word]) -> Inner:
    valued, skip = _WRAPPERS[name]
    options = valued.split()
    at = 0
    while at < len(words):
        text = words[at].text
        if name == "command" and text in ("-v", "-V"):
            return Inner()
        if name == "env" and text.startswith(("-S", "--split-string")):
            return Inner(unclear=True)
        if text == "--":
            at += 1
            break
        if text.startswith("-") and len(text) > 1:
            at += 2 if text in options else 1
        elif _ASSIGNMENT.match(text) and name in ("env", "sudo"):
            at += 1
        else:
            break
    return Inner(words=tuple(words[at + skip :]), extra=name in ("xargs", "parallel"))


def _shell(words: Sequence[Word]) -> Inner:
    """`sh -c CODE`, `sh FILE`, or code on the input."""
    for at, word in enumerate(words):
        text = word.text
        if text.startswith("-") and not text.startswith("--") and "c" in text[1:]:
            rest = [other for other in words[at + 1 :] if not other.text.startswith("-")]
            return Inner(code=rest[0]) if rest else Inner(unclear=True)
        if text in ("-o", "-O", "--rcfile", "--init-file", "+o"):
            continue
        if text in ("-", "-s", "/dev/stdin") or (text.startswith("-") and text[1:2] == "s"):
            return Inner(source=STDIN_CODE)
        if not text.startswith(("-", "+")):
            is_option_value = at > 0 and words[at - 1].text in ("-o", "-O", "--rcfile", "--init-file", "+o")
            if not is_option_value:
                return Inner(unclear=word.dynamic)
    return Inner(source=STDIN_CODE)


def _python(words: Sequence[Word]) -> Inner:
    for at, word in enumerate(words):
        if word.text == "-m":
            return Inner(words=tuple(words[at + 1 :]))
        if word.text.startswith("-c"):
            return Inner()
        if not word.text.startswith("-"):
            return Inner()
    return Inner(source=STDIN_CODE)


def _reads_stdin(words: Sequence[Word]) -> bool:
    return all(word.text == "-" or word.text.startswith("-w") for word in words)


def _eval(words: Sequence[Word]) -> Inner:
    if not words:
        return Inner()
    return Inner(code=Word(" ".join(word.text for word in words), any(word.dynamic for word in words)))


def _source(words: Sequence[Word]) -> Inner:
    if words and words[0].text == "/dev/stdin":
        return Inner(source=STDIN_CODE)
    return Inner(unclear=bool(words) and words[0].dynamic)


def _trap(words: Sequence[Word]) -> Inner:
    codes = [word for word in words if not word.text.startswith("-")]
    return Inner(code=codes[0]) if len(codes) > 1 else Inner()


def _find(words: Sequence[Word]) -> Inner:
    """The first command of -exec and its kin; a second one is rare enough to ask about."""
    starts = [at for at, word in enumerate(words) if word.text in ("-exec", "-execdir", "-ok", "-okdir")]
    if not starts:
        return Inner()
    end = next((at for at in range(starts[0], len(words)) if words[at].text in (";", "+")), len(words))
    return Inner(words=tuple(words[starts[0] + 1 : end]), roots=find_roots(words), unclear=len(starts) > 1)


def find_roots(words: Sequence[Word]) -> tuple[Word, ...]:
    """Where a `find` starts: `.` when it does not say."""
    roots: list[Word] = []
    for word in words:
        if word.text[:1] in ("-", "(", "!"):
            if roots or word.text not in ("-L", "-P", "-H"):
                break
            continue
        roots.append(word)
    return tuple(roots) or (Word("."),)


def _git(words: Sequence[Word]) -> Inner:
    return Inner(unclear=any(word.text.startswith("alias.") and "!" in word.text for word in words))


_SPECIAL: Final[dict[str, Callable[[Sequence[Word]], Inner]]] = {
    "eval": _eval,
    "source": _source,
    ".": _source,
    "trap": _trap,
    "find": _find,
    "git": _git,
    "alias": lambda words: Inner(unclear=bool(words)),
}
