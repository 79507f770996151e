"""Every error that Helm raises on purpose. One base, so that a face can turn any of them into an answer; the code is
stable and public, the message names the remedy and never repeats a secret or an argument's value."""

from __future__ import annotations


class HelmError(Exception):
    """Base of all our errors: `code` is stable, `status` is the HTTP status that a face answers with."""

    code = "INTERNAL"
    status = 500

    def __init__(self, message: str, *, receipt_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.receipt_id = receipt_id


class InvalidInput(HelmError):
    """What was sent does not have the form that was asked for."""

    code = "INVALID_INPUT"
    status = 400


class TooLarge(InvalidInput):
    """A body, a line or a structure is past its bound."""

    code = "TOO_LARGE"
    status = 413


class NotFound(HelmError):
    """No such run, approval, blueprint or page."""

    code = "NOT_FOUND"
    status = 404


class Unauthenticated(HelmError):
    """Nobody is signed in, or the proof has expired."""

    code = "UNAUTHENTICATED"
    status = 401


class Forbidden(HelmError):
    """Somebody is signed in, and may not do this."""

    code = "FORBIDDEN"
    status = 403


class Conflict(HelmError):
    """Somebody else was first, or the state has moved on."""

    code = "CONFLICT"
    status = 409


class AlreadyClaimed(Conflict):
    """A single-use claim (an answer, a dispatch, an outcome) was taken by an earlier receipt, `seq`."""

    code = "ALREADY_CLAIMED"

    def __init__(self, claim: str, seq: int) -> None:
        super().__init__(f"{claim} was already taken at #{seq}")
        self.claim = claim
        self.seq = seq


class AlreadyAnswered(Conflict):
    """An approval has its one answer; the message names who gave it and when."""

    code = "ALREADY_ANSWERED"


class RunEnded(Conflict):
    """The run is closed: nothing can be added to it."""

    code = "RUN_ENDED"


class Frozen(Conflict):
    """A person froze this run, its blueprint, or everything: nothing is dispatched."""

    code = "FROZEN"


class InputChanged(Conflict):
    """A file that the call names is not what it was when the question was asked; `approval` is the new question."""

    code = "INPUT_CHANGED"

    def __init__(self, message: str, approval: str) -> None:
        super().__init__(message)
        self.approval = approval


class SequenceMismatch(Conflict):
    """The run has moved on since the caller looked (compare-and-append)."""

    code = "SEQUENCE_MISMATCH"


class LedgerUnavailable(HelmError):
    """The log cannot be written (disk full, locked, closed). Nothing happens that cannot be recorded."""

    code = "LEDGER_UNAVAILABLE"
    status = 503


class LogCorrupt(HelmError):
    """The stored log does not verify. Helm refuses to go on from it."""

    code = "LOG_CORRUPT"


class EngineUnavailable(HelmError):
    """Docker is missing, not running, or too weak for the boundary; the message names the remedy."""

    code = "ENGINE_UNAVAILABLE"
    status = 503


class DoorUnavailable(HelmError):
    """The door process does not answer; nothing leaves without it."""

    code = "DOOR_UNAVAILABLE"
    status = 503


class BadPolicy(HelmError):
    """A policy or blueprint file does not load; the message names file, line and reason."""

    code = "BAD_POLICY"


class BadConfig(HelmError):
    """A setting, a port or a file of the installation is unusable; the message names the remedy."""

    code = "BAD_CONFIG"
