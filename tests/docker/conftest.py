"""Stages for the tests that need a real engine; whatever a test started is gone after it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from app.adapters.docker import Sandbox

from tests.docker.stage import ROOT, Stage, new_run


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    # Short on purpose: a socket's path has 107 bytes, and pytest's own folders carry the test's name.
    home = Path(tempfile.mkdtemp(prefix="helm-"))
    sandbox = Sandbox(home, ROOT / "agent_image" / "seccomp.json")
    status = await sandbox.probe()
    assert status.available, f"{status.reason} {status.remedy}"
    stage = Stage(home, sandbox, new_run())
    yield stage
    await stage.clean()
    sandbox.close()
    shutil.rmtree(home)
    assert stage.misfits() == [], "a call of the real CLI does not fit the schema that is shipped for its tool"
