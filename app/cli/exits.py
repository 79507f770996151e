"""Exit codes, and the one way in which a command fails: a line or two on stderr that name the remedy."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

import typer
from typer.exceptions import TyperException

from app.domain.errors import Conflict, HelmError, InvalidInput, LedgerUnavailable, NotFound

OK: Final = 0
NEGATIVE: Final = 1  # denied, failed, stopped, not verified, refused
USAGE: Final = 2  # the command, a setting, a file or a name is wrong
UNREACHABLE: Final = 3  # no server there, or it does not let us in
CONFLICT: Final = 4  # somebody was faster, or the run has ended
INTERRUPTED: Final = 130  # Ctrl-C
_NAMES: Final = {NEGATIVE: "REFUSED", USAGE: "USAGE", UNREACHABLE: "UNREACHABLE", CONFLICT: "CONFLICT"}
HELP: Final = (
    "Exit codes: 0 done; 1 the answer is no (denied, failed, not verified); 2 wrong usage or configuration; "
    "3 no server reached; 4 conflict (already answered, run ended); 130 Ctrl-C."
)
_BY_STATUS: Final[Mapping[int, int]] = {
    400: USAGE,
    401: UNREACHABLE,
    404: USAGE,
    409: CONFLICT,
    413: USAGE,
    421: UNREACHABLE,
    422: USAGE,
}
_USAGE_CODES: Final = frozenset({"BAD_CONFIG", "BAD_POLICY", "PEOPLE_UNAVAILABLE"})
_USAGE_ERRORS: Final = (InvalidInput, NotFound, LedgerUnavailable)


class Failure(Exception):
    """A command that cannot go on: `message` names the remedy."""

    def __init__(self, message: str, code: int = NEGATIVE, *, error: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message, self.code = message, code
        self.error = dict(error or {})


def code_of_status(status: int, error_code: str = "") -> int:
    """The exit code for an answer of the API."""
    return USAGE if error_code in _USAGE_CODES else _BY_STATUS.get(status, NEGATIVE)


def code_of_error(error: HelmError) -> int:
    """The exit code for an error that was raised here."""
    if isinstance(error, Conflict):
        return CONFLICT
    return USAGE if isinstance(error, _USAGE_ERRORS) or error.code in _USAGE_CODES else NEGATIVE


def say_error(message: str) -> None:
    """One failure on stderr; characters that could steer a terminal are shown, not sent."""
    text = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in message)
    try:
        print(f"helm: {text.strip()}", file=sys.stderr, flush=True)
    except OSError:
        return


def run_program(app: typer.Typer, word: str = "") -> NoReturn:
    """Run a program's commands and end the process; no error leaves it as a traceback. `word` is the first argument
    that chose the program."""
    command = typer.main.get_command(app)
    # What was loaded lives as long as the process: the collector need not look at it.
    gc.freeze()
    gc.enable()
    args = sys.argv[2:] if word and sys.argv[1:2] == [word] else sys.argv[1:]
    name = f"helm {word}".strip()
    code, error = _result_of(lambda: command.main(args=args, prog_name=name, standalone_mode=False))
    if error and "--json" in args:
        _print_error(error)
    sys.exit(code)


def _result_of(call: Callable[[], object]) -> tuple[int, dict[str, str]]:
    """The exit code of a command, and what is to be said of its failure to programs (nothing when it did its work)."""
    try:
        result = call()
        sys.stdout.flush()
    except Failure as failure:
        say_error(failure.message)
        return failure.code, {"code": _NAMES.get(failure.code, "REFUSED"), "message": failure.message, **failure.error}
    except HelmError as error:
        say_error(error.message)
        return code_of_error(error), {"code": error.code, "message": error.message}
    except TyperException as error:
        return USAGE, {"code": _NAMES[USAGE], "message": _say_usage(error)}
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED, {}
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`); Python would complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK, {}
    except OSError as error:
        words = f"{error.filename or 'the system'}: {error.strerror or error}"
        say_error(words)
        return NEGATIVE, {"code": "SYSTEM", "message": words}
    except Exception as error:
        # The last line of defence, as a supervisor: people get words, debug gets the traceback.
        words = f"something broke inside helm ({type(error).__name__}); HELM_LOG=debug shows where"
        say_error(words)
        if os.environ.get("HELM_LOG") == "debug":
            logging.getLogger("helm").error("command failed", exc_info=True)
        return NEGATIVE, {"code": "INTERNAL", "message": words}
    return (result if isinstance(result, int) else OK), {}


def _print_error(error: Mapping[str, str]) -> None:
    """The same shape as the API's errors, so that a program finds one document whatever happens."""
    document = {"error": {"reason_code": error["code"], "receipt_id": "", **error}}
    try:
        print(json.dumps(document, ensure_ascii=False), flush=True)
    except OSError:
        return


def _say_usage(error: TyperException) -> str:
    """What is wrong with the words, and where they are explained; nothing where the help was shown already."""
    context = getattr(error, "ctx", None)
    path = str(getattr(context, "command_path", "helm"))
    text = error.format_message().strip().rstrip(".")
    if text:
        say_error(f"{text[:1].lower()}{text[1:]}; see: {path} --help")
    return text
