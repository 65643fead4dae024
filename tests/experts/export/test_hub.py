"""Uploads to a real server on this machine that speaks the hub's endpoints."""

import random
from pathlib import Path

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.experts.export.hub import check_name, push_folder
from tests.hub_server import HubServer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    exported = tmp_path / "best_expert"
    exported.mkdir()
    (exported / "README.md").write_text("---\nlibrary_name: peft\n---\n# best\n")
    (exported / "adapter_config.json").write_text("{}\n")
    return exported


@pytest.fixture
def no_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_HUB_DISABLE_XET=1 sets in a new process."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def large(folder: Path, hub: HubServer) -> Path:
    """The same with 200 kB of weights that can't be compressed, on a hub where 10 kB are too large for a commit."""
    (folder / "adapter_model.safetensors").write_bytes(random.Random(0).randbytes(200_000))
    hub.large_from = 10_000
    return folder


def test_a_new_repository_is_private_and_holds_the_folder(hub: HubServer, folder: Path) -> None:
    assert push_folder(folder, "tester/found") == f"{hub.address}/tester/found"
    found = hub.repositories["tester/found"]
    assert found["private"] is True
    assert found["files"] == {path.name: path.read_bytes() for path in folder.iterdir()}
    push_folder(folder, "tester/found", public=True)  # one that is there stays as private as it is
    assert (found["private"], found["commits"]) == (True, 2)


def test_large_files_go_through_xet(hub: HubServer, large: Path) -> None:
    push_folder(large, "tester/found")
    assert hub.repositories["tester/found"]["files"] == {path.name: path.read_bytes() for path in large.iterdir()}
    assert hub.transfers == ["xet"]


@pytest.mark.parametrize(
    ("part_size", "transfers"), [(None, ["basic"]), (90_000, ["part"] * 3)], ids=["one piece", "three parts"]
)
def test_without_xet_large_files_go_through_lfs_and_only_once(
    hub: HubServer, large: Path, no_xet: None, part_size: int | None, transfers: list[str]
) -> None:
    hub.part_size = part_size
    push_folder(large, "tester/found")
    assert hub.repositories["tester/found"]["files"] == {path.name: path.read_bytes() for path in large.iterdir()}
    assert hub.transfers == transfers
    push_folder(large, "tester/again")
    assert hub.repositories["tester/again"]["files"] == hub.repositories["tester/found"]["files"]
    assert hub.transfers == transfers


def test_a_refusal_of_large_files_is_told_with_its_reason(hub: HubServer, large: Path, no_xet: None) -> None:
    hub.refused = "/storage/"
    with pytest.raises(InputError, match=r"adapter_model\.safetensors.*storage limit reached.*By hand: hf upload"):
        push_folder(large, "tester/found")
    hub.full = True
    with pytest.raises(InputError, match=r"LFS batch API returned errors.*storage limit reached"):
        push_folder(large, "tester/found")
    assert hub.repositories["tester/found"]["files"] == {}


def test_a_refusal_of_xet_is_told_with_its_reason(hub: HubServer, large: Path) -> None:
    hub.refused = "/api/models/tester/found/xet-write-token"
    with pytest.raises(InputError, match=r"403.*By hand: hf upload"):
        push_folder(large, "tester/found")
    assert hub.repositories["tester/found"]["files"] == {}


def test_a_name_without_an_owner_is_the_users_own_and_can_be_public(hub: HubServer, folder: Path) -> None:
    push_folder(folder, "found", public=True)
    assert hub.repositories["tester/found"]["private"] is False


def test_a_refusal_of_the_hub_says_how_to_get_access(
    hub: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError, match=r"401.*hf auth login.*By hand: hf upload tester/found"):
        push_folder(folder, "tester/found")
    assert hub.repositories == {}


def test_without_a_connection_the_folder_is_told_for_an_upload_by_hand(folder: Path) -> None:
    with pytest.raises(InputError, match="HF_HUB_OFFLINE.*By hand: hf upload tester/found .*best_expert"):
        push_folder(folder, "tester/found")


def test_what_is_no_export_and_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"its README\.md to push"):
        push_folder(tmp_path, "tester/found")
    with pytest.raises(InputError, match="but got 'a/b/c'"):
        check_name("a/b/c")
