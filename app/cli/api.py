"""The API of a server as commands use it: found through `$HELM_HOME/cli.json` (or HELM_URL and HELM_TOKEN), its errors
turned into failures that name the remedy."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx

from app.cli.exits import UNREACHABLE, USAGE, Failure, code_of_status
from app.domain.errors import BadConfig
from app.domain.ids import is_run_id

FILE: Final = "cli.json"
_MOST_BYTES: Final = 16_384
_STOP_S: Final = 120.0  # stopping a run answers only when its whole tree is gone


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is and what opens it. `home` is its folder when it is one of this machine."""

    url: str
    token: str
    pid: int = 0
    home: Path | None = None


def home_of(environment: Mapping[str, str]) -> Path:
    """The folder of the installation that commands mean."""
    return Path(environment.get("HELM_HOME", "~/.helm")).expanduser().absolute()


def find_place(environment: Mapping[str, str]) -> Place | None:
    """The server that commands talk to; None when none has left its address. Raises BadConfig, Failure."""
    url = environment.get("HELM_URL", "")
    if url:
        if not url.startswith(("http://", "https://")):
            raise BadConfig("HELM_URL is an address like https://helm.example")
        if not environment.get("HELM_TOKEN"):
            raise BadConfig("HELM_URL needs HELM_TOKEN beside it; where that server runs, print one with: helm token")
        return Place(url.rstrip("/"), environment["HELM_TOKEN"])
    return read_place(home_of(environment))


def read_place(home: Path) -> Place | None:
    """What a server wrote into its folder. Raises BadConfig for a file that is not one of ours, Failure when it is
    somebody else's."""
    path = home / FILE
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
        facts = json.loads(data)
        place = Place(str(facts["url"]), str(facts["token"]), int(facts["pid"]), home)
        # A server that was killed leaves the file: whoever got its port since then must not be told the token.
        return place if _lives(place.pid) else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise Failure(f"{path} belongs to another user; run the command as the one that runs the server") from None
    except (OSError, ValueError, TypeError, KeyError):
        raise BadConfig(f"{path} cannot be read; delete it and start the server again") from None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Api:
    """Requests to one server. Every method raises Failure."""

    def __init__(self, place: Place, timeout: float = 30.0) -> None:
        self.place = place
        self._client = httpx.Client(
            base_url=place.url,
            headers={"authorization": f"Bearer {place.token}", "accept": "application/json"},
            timeout=httpx.Timeout(timeout, connect=5.0),
            # A proxy of the environment would be told the token of a server that is usually this very machine.
            trust_env=place.home is None,
        )

    @staticmethod
    def connect() -> Api:
        """The API of the server that the environment means. Raises Failure when there is none."""
        place = find_place(os.environ)
        if place is None:
            raise Failure(_nobody(home_of(os.environ)), UNREACHABLE)
        return Api(place)

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path; parameters that are None are left out."""
        return self._ask("GET", path, params={name: value for name, value in query.items() if value is not None})

    def post(self, path: str, body: Mapping[str, Any] | None = None, timeout: float | None = None) -> Any:
        """The answer to a POST."""
        limit = self._client.timeout if timeout is None else httpx.Timeout(timeout, connect=5.0)
        return self._ask("POST", path, json=dict(body) if body is not None else {}, timeout=limit)

    def health(self) -> dict[str, Any]:
        """The state of every part; a server that is not well answers as well as one that is."""
        answer = self._ask("GET", "/api/v1/health", accepted=(503,))
        self._member(answer, "ok")
        return dict(answer)

    def stop(self, run: str) -> Any:
        """Stop a run; returns when its tree is gone."""
        return self.post(f"/api/v1/runs/{run}/stop", timeout=_STOP_S)

    def ticket(self) -> str:
        """A single-use ticket for the live socket."""
        return str(self._member(self.post("/live/ticket"), "ticket"))

    @staticmethod
    def _member(answer: Any, name: str) -> Any:
        if not isinstance(answer, dict) or name not in answer:
            raise Failure("what answers there is not a Helm server of this version", UNREACHABLE)
        return answer[name]

    def _ask(self, method: str, path: str, *, accepted: tuple[int, ...] = (), **options: Any) -> Any:
        try:
            answer = self._client.request(method, path, **options)
        except httpx.TimeoutException:
            raise Failure(f"{self.place.url} does not answer in time", UNREACHABLE) from None
        except (httpx.TransportError, httpx.InvalidURL):
            raise Failure(self._gone(), UNREACHABLE) from None
        try:
            found = answer.json()
        except ValueError:
            raise Failure(f"{self.place.url} is not a Helm server (HTTP {answer.status_code})", UNREACHABLE) from None
        if answer.is_success or (answer.status_code in accepted and "error" not in found):
            return found
        raise _failure(answer.status_code, found)

    def _gone(self) -> str:
        if self.place.home is None:
            return f"{self.place.url} cannot be reached; is the server running, and HELM_URL right?"
        return _nobody(self.place.home)


def _nobody(home: Path) -> str:
    return f"no server is running on {shlex.quote(str(home))}; start one with: helm serve"


def _failure(status: int, found: Any) -> Failure:
    error = found.get("error") if isinstance(found, dict) else None
    if not isinstance(error, dict):
        return Failure(f"the server answered with HTTP {status}", code_of_status(status))
    told = {str(name): str(value) for name, value in error.items()}
    message = told.get("message") or f"the server answered with HTTP {status}"
    if told.get("approval"):
        message += f": helm inbox show {told['approval']}"
    if status == 401:
        message += "; the token is not valid any more: start the command again, or the server"
    return Failure(message, code_of_status(status, told.get("code", "")), error=told)


def one_run(api: Api, word: str) -> str:
    """The id of a run that somebody named by id, by the id's beginning, or by number (`7`, `#7`). Raises Failure."""
    number = word.removeprefix("#")
    if is_run_id(word):
        return word
    rows = rows_of(api.get("/api/v1/runs", limit=200), "runs")
    if number.isascii() and number.isdigit():
        found = [row["id"] for row in rows if row["no"] == int(number)]
    else:
        found = [row["id"] for row in rows if len(word) >= 4 and row["id"].startswith(word)]
    if len(found) == 1:
        return str(found[0])
    what = "several runs begin" if found else "no run is named or begins"
    raise Failure(f"{what} with {word[:40]!r}; list them with: helm runs", USAGE)


def rows_of(answer: Any, name: str) -> list[dict[str, Any]]:
    """The list in an answer, under its name or by itself. Raises Failure."""
    rows = answer.get(name) if isinstance(answer, dict) else answer
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Failure("what answers there is not a Helm server of this version", UNREACHABLE)
    return rows
