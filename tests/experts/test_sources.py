from pathlib import Path

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.experts.sources import download, local_folder, nearest


def test_a_folder_that_exists_is_a_path_even_if_it_reads_like_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert local_folder("owner/name", "an adapter") == Path("owner/name")
    assert local_folder("owner/other", "an adapter") is None


@pytest.mark.parametrize("source", ["./owner/name", "/owner/name", "~/owner/name", "a/b/c", "name", "owner/na me"])
def test_what_looks_like_a_path_is_never_asked_of_the_hub(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match="Expected a folder or a hub id"):
        local_folder(source, "an adapter")


def test_a_bare_name_is_a_hub_id_only_for_bases() -> None:
    assert local_folder("no-such-model", "a base model", bare_names=True) is None


def test_a_wrong_path_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "experts" / "numbers").mkdir(parents=True)
    with pytest.raises(InputError, match="Did you mean .*experts/numbers'"):
        local_folder(str(tmp_path / "experts" / "nmbers"), "an adapter")
    assert str(tmp_path / "experts" / "numbers") in nearest(tmp_path / "expert" / "numbers")
    assert nearest(tmp_path / "zzzzzz") == ""


def test_a_file_and_an_empty_source_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        local_folder(str(tmp_path / "file"), "an adapter")
    with pytest.raises(InputError, match="got an empty one"):
        local_folder("", "an adapter")


def test_without_a_connection_a_hub_id_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    # The package reads HF_HUB_OFFLINE once, when it is imported; this is what it reads it into.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="'owner/name'.*hub did not give it.*HF_HUB_OFFLINE") as error:
        download("owner/name", ("adapter_config.json",), "an adapter")
    assert error.value.__cause__ is not None
