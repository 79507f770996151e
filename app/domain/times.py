"""Times as they stand in receipts: UTC, milliseconds, fixed width. The clock itself is a port."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from app.domain.errors import InvalidInput

_FORM: Final = re.compile(r"\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):\d{2}:\d{2}\.\d{3}Z\Z", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE: Final = datetime(1970, 1, 1)
_MILLISECOND: Final = timedelta(milliseconds=1)


def text_of(ms: int) -> str:
    """`YYYY-MM-DDTHH:MM:SS.mmmZ` of milliseconds since 1970 (EVIDENCE 3.2)."""
    moment = _EPOCH + timedelta(milliseconds=ms)
    # isoformat pads the year to four digits, which strftime does not do on every system.
    return moment.isoformat(timespec="milliseconds")[:23] + "Z"


def ms_of(text: str) -> int:
    """Milliseconds since 1970 of a receipt's time. Raises InvalidInput for another form or a date that is none."""
    if _FORM.match(text) is None:
        raise InvalidInput("a time has the form YYYY-MM-DDTHH:MM:SS.mmmZ")
    try:
        moment = datetime.fromisoformat(text[:23])
    except ValueError:
        raise InvalidInput("a time names a day or hour that does not exist") from None
    return (moment - _NAIVE) // _MILLISECOND
