"""One demo world for all tests that leave it as they found it, and one of its own for each of the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from app.demo import World, start_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with start_world(tmp_path_factory.mktemp("world")) as running:
        yield running


@pytest.fixture
def own_world(tmp_path: Path) -> Iterator[World]:
    with start_world(tmp_path / "world") as running:
        yield running
