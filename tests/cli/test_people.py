"""`helm people` against a real server: who may come in, as what, and the link that lets them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.cli.kit import Running, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with served(tmp_path_factory.mktemp("cli") / "home") as running:
        yield running


def test_people_are_added_listed_and_given_another_role(server: Running) -> None:
    me = server.helm("people", "--json").document["people"]
    assert [(one["role"], one["you"]) for one in me] == [("owner", True)]
    added = server.helm("people", "add", "bob", "--role", "approver", "--json").document
    assert added["role"] == "approver" and httpx.get(added["link"]).status_code == 200
    words = server.helm("people", "add", "eve")
    assert words.code == 0 and "eve is a viewer" in words.out and "/login/link/" in words.out
    assert server.helm("people", "role", "eve", "approver").out == "eve is an approver from now on.\n"
    listed = server.helm("people").out
    assert "bob" in listed and "approver" in listed and "eve" in listed


def test_refusals_say_what_to_do(server: Running) -> None:
    again = server.helm("people", "add", "carl"), server.helm("people", "add", "carl")
    assert again[1].code == 4 and "change its role" in again[1].error
    nobody = server.helm("people", "role", "nobody", "owner")
    assert nobody.code == 2 and "helm people" in nobody.error
    me = next(one["account"] for one in server.helm("people", "--json").document["people"] if one["you"])
    last = server.helm("people", "role", me, "viewer", "--json")
    assert last.code == 4 and "last owner" in last.document["error"]["message"]
    token = server.helm("token", "x", "--account", "carl").out.strip()
    url = server.announced["url"]
    refused = server.helm("people", HELM_URL=url, HELM_TOKEN=token)
    assert refused.code == 1 and "only an owner" in refused.error
