"""Uploads to a real server on this machine that speaks the hub's endpoints."""

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


def test_a_new_repository_is_private_and_holds_the_folder(hub: HubServer, folder: Path) -> None:
    assert push_folder(folder, "tester/found") == f"{hub.address}/tester/found"
    found = hub.repositories["tester/found"]
    assert found["private"] is True
    assert found["files"] == {path.name: path.read_bytes() for path in folder.iterdir()}
    push_folder(folder, "tester/found", public=True)  # one that is there stays as private as it is
    assert (found["private"], found["commits"]) == (True, 2)


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
