"""The process: it starts whole or says why, survives a kill between two requests, and leaves with its parent."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import anthropic
import httpx
import pytest
from app.demo import ROOT, World, WorldError, start_world

from tests.demo.agent import script


def test_the_addresses_answer_and_the_end_is_clean(tmp_path: Path) -> None:
    running = start_world(tmp_path)
    addresses = json.loads((tmp_path / "world.json").read_text())
    assert (addresses["pid"], addresses["anthropic"], addresses["mail"]) == (
        running.pid,
        running.anthropic,
        running.mail,
    )
    assert len(set(running.ports.values())) == 4
    assert running.stop() == 0
    assert not (tmp_path / "world.json").exists()
    assert "Traceback" not in (tmp_path / "world.log").read_text()


def test_a_killed_server_goes_on_where_the_conversation_was(tmp_path: Path) -> None:
    task = script(
        {"tool": "Bash", "input": {"command": "one"}}, {"tool": "Bash", "input": {"command": "two"}}, {"say": "End."}
    )
    messages: list[anthropic.types.MessageParam] = [{"role": "user", "content": task}]
    commands = []
    for _ in range(2):
        running = start_world(tmp_path)
        with anthropic.Anthropic(api_key=running.key, base_url=running.anthropic, max_retries=0) as client:
            call = client.messages.create(model="m", max_tokens=9, messages=messages).content[0]
        running.kill()
        assert isinstance(call, anthropic.types.ToolUseBlock)
        commands.append(call.input)
        messages.append({"role": "assistant", "content": [call]})
        messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "ok"}]})
    assert commands == [{"command": "one"}, {"command": "two"}]


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(WorldError, match=f"port {port} cannot be opened"):
            start_world(tmp_path, site_port=port)


def test_a_broken_scenario_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('name = "bad"\n[[main]]\nsing = "la"\n')
    with pytest.raises(WorldError, match=r"bad\.toml: main step 1: unknown key sing"):
        start_world(tmp_path / "home", scenarios=tmp_path)


def test_it_leaves_when_its_parent_is_gone(tmp_path: Path) -> None:
    starter = (
        "import os, pathlib, sys\n"
        "from app.demo import start_world\n"
        "world = start_world(pathlib.Path(sys.argv[1]))\n"
        "print(world.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-c", starter, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=30
    )
    try:
        process = os.pidfd_open(int(found.stdout))
    except ProcessLookupError:
        return  # gone already
    try:
        assert select.select([process], [], [], 10)[0], "still running ten seconds after its parent"
    finally:
        os.close(process)
    assert not (tmp_path / "world.json").exists()


async def test_it_is_an_async_context_too(tmp_path: Path) -> None:
    async with start_world(tmp_path) as running:
        assert running.alive
    assert not running.alive


def test_the_site_serves_by_host(world: World) -> None:
    def fetch(host: str, path: str) -> httpx.Response:
        return httpx.get(world.site + path, headers={"host": f"{host}:{world.ports['site']}"}, trust_env=False)

    assert "$0.40 per 1,000 calls" in fetch("acme.demo.test", "/pricing").text
    assert "$24" in fetch("northwind.demo.test", "/pricing").text
    assert "closed for new accounts" in fetch("CONTOSO.demo.test", "/pricing/").text
    assert "/pricing" in fetch("acme.demo.test", "/").text
    assert fetch("acme.demo.test", "/../server.py").status_code == 404
    assert fetch("unknown.test", "/pricing").status_code == 404
    assert fetch("cdn.tracker.test", "/history.js").headers["content-type"] == "image/gif"
    assert ("acme.demo.test", "/pricing", 200) in [(row["host"], row["path"], row["status"]) for row in world.visits()]
