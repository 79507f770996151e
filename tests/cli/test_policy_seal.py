"""`helm policy sign|verify`, and a server that loads only what was signed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from app.adapters.policies import load_library
from app.adapters.policies_live import LiveLibrary
from app.domain.errors import BadPolicy
from app.domain.policy_seal import parse_signers
from app.settings import ROOT

from tests.cli.kit import Ended, helm

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")


def new_key(path: Path, kind: str = "ed25519") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "ana@desk", "-f", path], check=True, timeout=30)
    return path


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with a small library, a key of somebody who may sign, and one of somebody who may not."""
    policies = tmp_path / "policies"
    for name in ("default", "coding"):
        shutil.copytree(ROOT / "policies" / name, policies / name)
    shutil.copy(ROOT / "policies" / "prices.toml", policies)
    public = new_key(tmp_path / "ana").with_suffix(".pub").read_text()
    new_key(tmp_path / "eve")
    (policies / "signers").write_text(f'# who may\nana@example.com namespaces="file,helm-policy" {public}')
    return tmp_path


def sign(desk: Path, bundle: str, key: str = "ana") -> Ended:
    home, policies = desk / "home", desk / "policies"
    words = ("policy", "sign", str(policies / bundle), "--key", str(desk / key), "--json")
    return helm(home, *words, HELM_POLICIES=str(policies))


def verify(desk: Path, bundle: str, *words: str) -> Ended:
    policies = desk / "policies"
    return helm(desk / "home", "policy", "verify", str(policies / bundle), *words, HELM_POLICIES=str(policies))


def test_a_signed_bundle_loads_and_an_edit_of_it_or_of_what_it_extends_does_not(desk: Path) -> None:
    policies = desk / "policies"
    with pytest.raises(BadPolicy, match="is not signed"):
        load_library(policies)
    digests = {bundle: sign(desk, bundle).document["digest"] for bundle in ("default", "coding")}
    library = load_library(policies)
    assert {bundle.name: bundle.digest for bundle in library.bundles()} == digests, "the signature is no part of it"
    document = verify(desk, "coding", "--json").document
    assert (document["ok"], document["signer"]) == (True, "ana@example.com")
    with (policies / "default" / "rules.toml").open("a") as file:
        file.write("# an edit\n")
    with pytest.raises(BadPolicy, match="not what was signed"):
        load_library(policies)
    assert verify(desk, "coding").code == 1, "default stands behind it"
    sign(desk, "default")
    with pytest.raises(BadPolicy, match=r"coding/bundle\.sig"):
        load_library(policies)


def test_a_signature_of_somebody_else_or_of_another_bundle_is_none(desk: Path) -> None:
    policies = desk / "policies"
    assert sign(desk, "default", "eve").code == 0
    assert verify(desk, "default").code == 1
    assert "not among the signers" in verify(desk, "default", "--json").document["why"]
    public = (desk / "eve.pub").read_text()
    (desk / "others").write_text(f"eve {public}")
    assert verify(desk, "default", "--signers", str(desk / "others")).code == 0
    sign(desk, "coding")
    shutil.copy(policies / "coding" / "bundle.sig", policies / "default" / "bundle.sig")
    assert verify(desk, "default").code == 1
    for bad in ("", "-----BEGIN SSH SIGNATURE-----\n", "x" * 20_000):
        (policies / "default" / "bundle.sig").write_text(bad)
        assert verify(desk, "default").code in (1, 2)
        with pytest.raises(BadPolicy):
            load_library(policies)


def test_a_key_that_cannot_sign_is_refused_before_anything_is_written(desk: Path) -> None:
    new_key(desk / "old", "ecdsa")
    ended = sign(desk, "default", "old")
    assert ended.code == 2
    assert "ed25519" in ended.err
    assert sign(desk, "default", "nobody").code == 2
    assert not (desk / "policies" / "default" / "bundle.sig").exists()


def test_a_running_server_keeps_what_is_in_force_over_an_edit_that_nobody_signed(desk: Path) -> None:
    policies = desk / "policies"
    for bundle in ("default", "coding"):
        sign(desk, bundle)
    live = LiveLibrary(policies)
    digest = live.bundle("coding").digest
    with (policies / "coding" / "rules.toml").open("a") as file:
        file.write("# an edit\n")
    assert live.look() is None
    with pytest.raises(BadPolicy, match="not what was signed"):
        live.look()
    assert live.bundle("coding").digest == digest
    sign(desk, "coding")
    assert live.look() is None
    edit = live.look()
    assert edit is not None
    live.take(edit)
    assert live.bundle("coding").digest != digest


def test_who_may_sign_is_not_taken_over_while_the_server_runs(desk: Path) -> None:
    policies = desk / "policies"
    for bundle in ("default", "coding"):
        sign(desk, bundle)
    live = LiveLibrary(policies)
    (policies / "signers").unlink()
    assert live.look() is None
    with pytest.raises(BadPolicy, match="restart the server"):
        live.look()
    (policies / "signers").symlink_to(desk / "nowhere")
    with pytest.raises(BadPolicy, match="cannot be read"):
        load_library(policies)


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICdQ9wP9jMyPhqCg1+7qNu5SSqGbnUSxjjMMLDGPoDtu"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nobody may sign"),
        ("# nothing\n\n", "nobody may sign"),
        (f'ana namespaces="git" {KEY}', "nobody may sign"),
        ("ana", ":1: not a line"),
        (f"\nana cert-authority {KEY}", ":2: the only option"),
        (f'ana valid-before="20200101" {KEY}', "the only option"),
        (f'ana namespaces="helm-policy",valid-before="20200101" {KEY}', "the only option"),
        ("ana ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7", "ed25519"),
        ("ana ssh-ed25519 AAAA", "signers:1"),
        ("ana ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "signers:1"),
    ],
)
def test_a_file_of_signers_that_is_not_plain_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        parse_signers(text, "signers")
    assert reason in caught.value.message
