"""What the files of a base and of its experts say beside their weights."""

import json
from pathlib import Path

import pytest

from swarm_lightning.experts.export.provenance import hub_id_of, license_of, provenance_of


def write_model(folder: Path, license_: str | None = None, base: str | None = None) -> str:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    if license_ is not None:
        (folder / "README.md").write_text(f"---\nlicense: {license_}\n---\n# A model\n")
    return str(folder)


def test_a_base_in_a_folder_has_the_id_that_all_adapters_name_if_it_is_called_so(tmp_path: Path) -> None:
    base = write_model(tmp_path / "Tiny-7b")
    experts = [write_model(tmp_path / name, base="owner/tiny-7b") for name in "ab"]
    assert hub_id_of(base, experts) == "owner/tiny-7b"
    assert hub_id_of(write_model(tmp_path / "other"), experts) is None, "a path of another machine may look like an id"
    odd = write_model(tmp_path / "c", base="somebody/tiny-7b")
    assert hub_id_of(base, [*experts, odd]) is None
    assert hub_id_of(base) is None


def test_a_snapshot_in_the_cache_is_its_repository(tmp_path: Path) -> None:
    folder = tmp_path / "models--owner--base" / "snapshots" / "0123"
    assert hub_id_of(write_model(folder)) == "owner/base"


def test_licenses_are_read_from_the_cards(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "apache-2.0")
    experts = [write_model(tmp_path / "math", "apache-2.0"), write_model(tmp_path / "code")]
    found = provenance_of(base, ["math", "code"], experts)
    assert (found.base, found.base_license, found.licenses) == (None, "apache-2.0", {"math": "apache-2.0"})
    assert found.license == "apache-2.0"
    other = write_model(tmp_path / "law", "cc-by-nc-4.0")
    assert provenance_of(base, ["math", "law"], [experts[0], other]).license is None


@pytest.mark.parametrize(
    "text", ["no front matter", "---\nlicense: [a, b]\n---\n", "---\n: {\n---\n", "---\n- a\n---\n"]
)
def test_a_card_that_states_none_or_is_broken_is_no_license(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert license_of(str(tmp_path)) is None


def test_a_repository_that_is_not_in_the_cache_states_nothing() -> None:
    assert license_of("nobody/has-this") is None
