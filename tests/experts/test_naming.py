from pathlib import Path

import pytest

from swarm_lightning.experts.naming import name_of, unique_names


def test_a_link_gives_its_own_name_and_what_lies_above_its_target_that_of_the_target(tmp_path: Path) -> None:
    (tmp_path / "store" / "9f3a").mkdir(parents=True)
    (tmp_path / "named").mkdir()
    link = tmp_path / "named" / "math"
    link.symlink_to(tmp_path / "store" / "9f3a")
    assert name_of(link) == name_of(Path(f"{link}/")) == name_of(link / "." / "") == "math"
    assert name_of(link / "..") == "store"  # as the system takes it


def test_a_snapshot_in_the_cache_of_the_hub_is_called_as_its_repository(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--owner--my-math" / "snapshots" / ("0" * 40)
    (snapshot / "code").mkdir(parents=True)
    assert name_of(snapshot) == "owner/my-math"
    assert name_of(snapshot / "code") == "code"


def test_equal_names_of_links_are_told_apart_by_the_folders_of_the_links(tmp_path: Path) -> None:
    for parent in ("one", "two"):
        (tmp_path / "store" / parent).mkdir(parents=True)
        (tmp_path / parent).mkdir()
        (tmp_path / parent / "math").symlink_to(tmp_path / "store" / parent)
    sources = [str(tmp_path / parent / "math") for parent in ("one", "two")]
    assert unique_names(["math", "math"], sources) == ("one/math", "two/math")


@pytest.mark.parametrize("source", [".", "./", "../here"])
def test_a_relative_path_gives_the_name_of_the_folder(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert name_of(Path(source)) == "here"
