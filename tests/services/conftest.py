"""The services' tests run over a log in memory and over one in SQLite alike, each by way of this one fixture."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.fakes import MemoryStore
from tests.house import House, house

OpenHouse: TypeAlias = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture(params=["memory", "sqlite"])
def open_house(request: pytest.FixtureRequest, tmp_path: Path) -> OpenHouse:
    """Opens a house, as `tests.house.house` does; opened again it has the log that it had."""
    return partial(house, tmp_path, memory=MemoryStore() if request.param == "memory" else None)
