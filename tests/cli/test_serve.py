"""`helm serve`: it starts, is found by commands, refuses what it must refuse in words, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import stat
from pathlib import Path

import httpx
import pytest

from tests.cli.kit import ROOT, finished, free_port, helm, served, started


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_it_announces_itself_and_is_gone_without_a_trace(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with served(home, shelf=False) as server:
        assert server.announced["login"].startswith(server.announced["url"] + "/login/link/")
        facts = json.loads((home / "cli.json").read_text())
        assert set(facts) == {"url", "token", "pid"}
        assert facts["pid"] == server.process.pid
        assert mode_of(home / "cli.json") == 0o600
        assert mode_of(home / "sockets" / "web.sock") == 0o660
        assert mode_of(home) == mode_of(home / "keys") == 0o700
        assert httpx.get(facts["url"] + "/login").status_code == 200
        bearer = {"authorization": f"Bearer {facts['token']}"}
        assert httpx.get(facts["url"] + "/api/v1/runs", headers=bearer).status_code == 200
    assert not (home / "cli.json").exists()
    assert not (home / "sockets" / "web.sock").exists()
    with served(home, shelf=False) as server:
        url = json.loads((home / "cli.json").read_text())["url"]
        assert httpx.get(url + "/api/v1/runs", headers=bearer).status_code == 401


def test_ctrl_c_stops_it_in_order(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with started(home, "serve", HELM_PORT="0") as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]  # bounded by the test's own time limit
        process.send_signal(signal.SIGINT)
        ended = finished(process)
    assert ended.code == 0
    assert "is ready:" in said[0]
    assert "/login/link/" in said[2]
    assert "Traceback" not in ended.err


def test_a_second_server_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with served(home) as server:
        port = server.announced["url"].rpartition(":")[2]
        for again in ("0", port):
            ended = helm(home, "serve", HELM_PORT=again)
            assert ended.code == 2
            assert "another Helm server is running" in ended.error
        assert server.helm("status").code == 0


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = helm(tmp_path / "home", "serve", HELM_PORT=str(port))
    assert ended.code == 2
    assert f"127.0.0.1:{port}" in ended.error
    assert "HELM_PORT" in ended.error
    assert not (tmp_path / "home" / "helm.db").exists(), "nothing begins where nobody could reach it"


def test_a_broken_policy_is_named_with_its_line(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies)
    rules = policies / "default" / "rules.toml"
    lines = rules.read_text().splitlines()
    lines.insert(20, "this is [[[ no rule")
    rules.write_text("\n".join(lines))
    ended = helm(tmp_path / "home", "serve", HELM_PORT="0", HELM_POLICIES=str(policies))
    assert ended.code == 2
    assert "rules.toml" in ended.error
    assert "21" in ended.error


@pytest.mark.parametrize(("name", "value"), [("HELM_PORT", "eighty"), ("HELM_LOG", "loud")])
def test_a_bad_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    ended = helm(tmp_path / "home", "serve", **{name: value})
    assert ended.code == 2
    assert name in ended.error


def test_a_home_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    ended = helm(tmp_path / "home", "serve", HELM_PORT="0")
    assert ended.code == 2
    assert "HELM_HOME" in ended.error


def test_only_a_socket_peer_is_believed_about_addresses_and_names(tmp_path: Path) -> None:
    with served(tmp_path / "home") as server:
        url = server.announced["url"]
        assert httpx.get(url + "/login", headers={"host": "evil.example"}).status_code == 421
        transport = httpx.HTTPTransport(uds=str(server.home / "sockets" / "web.sock"))
        with httpx.Client(transport=transport, base_url="https://localhost") as caddy:
            # The socket speaks plain HTTP; Caddy says in X-Forwarded-Proto what its client used.
            answer = caddy.get("http://localhost/login", headers={"x-forwarded-proto": "https"})
        assert answer.status_code == 200


def test_a_port_of_the_environment_is_used(tmp_path: Path) -> None:
    port = free_port()
    with served(tmp_path / "home", HELM_PORT=str(port)) as server:
        assert server.announced["url"] == f"http://localhost:{port}"
