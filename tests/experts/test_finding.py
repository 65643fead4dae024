"""Which experts are found behind paths, and that whatever is not taken is named."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.experts.finding import LOGS, find_experts
from swarm_lightning.experts.pool import load_pool

ALL = ["colours", "numbers", "stories", "towns"]


def names(sources: str | list[str]) -> list[str]:
    return [one.name for one in find_experts(sources)]


def test_a_folder_of_nothing_but_experts_gives_them_sorted_and_says_nothing(experts: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (experts / ".git").mkdir()
        (experts / ".numbers.training").mkdir()
        (experts / LOGS / "towns" / "version_0").mkdir(parents=True)
        shutil.copytree(experts / "towns", experts / ".towns.0123abcd.partial")
        found = find_experts(str(experts))
    assert [(one.name, one.source, one.kind) for one in found] == [
        (name, str(experts / name), "adapter") for name in ALL
    ]
    assert find_experts(found) == found


def a_file(folder: Path) -> None:
    (folder / "odd").write_text("")


def a_dangling_link(folder: Path) -> None:
    (folder / "odd").symlink_to(folder / "nowhere")


def an_empty_folder(folder: Path) -> None:
    (folder / "odd").mkdir()


def a_folder_with_a_readme(folder: Path) -> None:
    (folder / "odd").mkdir()
    (folder / "odd" / "README.md").write_text("")


def a_hidden_expert(folder: Path) -> None:
    shutil.copytree(folder / "towns", folder / ".odd")


@pytest.mark.parametrize(
    ("put", "told"),
    [
        (a_file, r"'odd' \(a file\)"),
        (a_dangling_link, r"'odd' \(a link to something that is not there\)"),
        (an_empty_folder, r"'odd' \(an empty folder\)"),
        (a_folder_with_a_readme, r"'odd' \(a folder with README.md\)"),
        (a_hidden_expert, r"'.odd' \(hidden\)"),
    ],
)
def test_what_lies_among_experts_and_is_none_is_named(experts: Path, put: Callable[[Path], None], told: str) -> None:
    put(experts)
    with pytest.warns(UserWarning, match=f"Skipped in .*experts', .*: {told}"):
        assert names(str(experts)) == ALL


@pytest.mark.parametrize("inner", ["towns", "checkpoint-500", "run/2026/checkpoint-500"])
def test_the_only_expert_further_in_is_taken_under_the_name_of_the_entry(experts: Path, inner: str) -> None:
    (experts / "towns").rename(experts.parent / "towns")
    (experts / "towns" / inner).parent.mkdir(parents=True)
    (experts.parent / "towns").rename(experts / "towns" / inner)
    with pytest.warns(UserWarning, match=f"deeper inside .*: 'towns' from 'towns/{inner}'"):
        found = find_experts(str(experts))
    assert [one.name for one in found] == ALL
    assert found[3].source == str(experts / "towns" / inner)
    assert load_pool(found).names == tuple(ALL)


def test_of_several_experts_further_in_the_user_has_to_choose(experts: Path) -> None:
    for name in ("numbers", "towns"):
        (experts / name).rename(experts.parent / name)
        (experts / "runs").mkdir(exist_ok=True)
        (experts.parent / name).rename(experts / "runs" / name)
    with pytest.raises(InputError, match="one expert in .*runs', but it holds 2: 'runs/numbers', 'runs/towns'. Name"):
        find_experts(str(experts))
    assert names([str(experts / "runs"), str(experts / "colours")]) == ["numbers", "towns", "colours"]


@pytest.mark.parametrize("as_list", [False, True])
def test_experts_inside_of_an_expert_are_not_taken_and_named(experts: Path, as_list: bool) -> None:
    shutil.copytree(experts / "numbers", experts.parent / "kept")
    (experts.parent / "kept").rename(experts / "towns" / "checkpoint-100")
    (experts / "towns" / "onnx").mkdir()
    (experts / "towns" / "onnx" / "config.json").write_text("{}")
    sources = [str(experts / name) for name in ALL] if as_list else str(experts)
    with pytest.warns(UserWarning, match="inside other experts: '[^']*towns/checkpoint-100'. Name"):
        assert names(sources) == ALL


def test_a_list_mixes_folders_of_experts_experts_and_hub_ids_in_the_given_order(
    experts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    cached = tmp_path / "hub" / "models--owner--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    shutil.copytree(experts / "colours", cached / "snapshots" / ("0" * 40))
    (tmp_path / "more").mkdir()
    (experts / "numbers").rename(tmp_path / "more" / "numbers")
    assert names([str(experts / "towns"), "owner/name", str(tmp_path / "more")]) == ["towns", "owner/name", "numbers"]
    assert names(str(cached / "snapshots" / ("0" * 40))) == ["owner/name"]


def test_linked_experts_are_called_by_their_links(experts: Path, tmp_path: Path) -> None:
    (tmp_path / "named").mkdir()
    for link, name in (("code", "colours"), ("math", "numbers")):
        (tmp_path / "named" / link).symlink_to(experts / name)
    assert names(str(tmp_path / "named")) == ["code", "math"]
    assert names([f"{tmp_path}/named/math/", f"{tmp_path}/named/./code"]) == ["math", "code"]
    assert load_pool(str(tmp_path / "named")).names == ("code", "math")
    with pytest.raises(InputError, match="math' is given 2 times .*numbers'"):
        load_pool([str(tmp_path / "named"), str(experts / "numbers")])


def test_a_single_expert_and_half_an_expert_are_found_as_themselves(experts: Path) -> None:
    assert names(str(experts / "towns")) == ["towns"]
    (experts / "towns" / "adapter_model.safetensors").unlink()
    assert names(str(experts)) == ALL  # an error when it is read, and not an expert fewer


def test_the_config_of_a_model_beside_an_adapter_does_not_make_it_a_checkpoint(experts: Path) -> None:
    (experts / "towns" / "config.json").write_text("{}")
    assert find_experts(str(experts))[3].kind == "adapter"
    (experts / "towns" / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="holds the files of both"):
        find_experts(str(experts))


def test_a_folder_without_experts_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("")
    (tmp_path / "logs").mkdir()
    with pytest.raises(InputError, match="it holds: 'model.onnx' .a file."):
        find_experts(str(tmp_path))
    with pytest.raises(InputError, match="empty list"):
        find_experts([])
