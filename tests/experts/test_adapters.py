import json
from pathlib import Path

import pytest
import torch

from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import find_adapters, read_adapter


def test_adapters_in_a_folder_come_sorted_by_name_without_hidden_and_other_folders(experts: Path) -> None:
    (experts / "towns").rename(experts / ".hidden")
    (experts / "logs").mkdir()
    (experts / "notes.txt").write_text("")
    assert find_adapters(str(experts)) == [str(experts / name) for name in ("colours", "numbers", "stories")]


def test_a_list_mixes_folders_of_adapters_adapters_and_hub_ids_in_the_given_order(experts: Path) -> None:
    (experts.parent / "more").mkdir()
    (experts / "numbers").rename(experts.parent / "more" / "numbers")
    found = find_adapters([str(experts / "towns"), "owner/name", str(experts.parent / "more")])
    assert found == [str(experts / "towns"), "owner/name", str(experts.parent / "more" / "numbers")]


def test_a_single_adapter_folder_is_found_as_itself(experts: Path) -> None:
    assert find_adapters(str(experts / "towns")) == [str(experts / "towns")]


def test_a_folder_without_adapters_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("")
    with pytest.raises(InputError, match="it holds: model.onnx"):
        find_adapters(str(tmp_path))
    with pytest.raises(InputError, match="empty list"):
        find_adapters([])


def test_an_adapter_is_read_as_its_files_stand(tiny_experts_folder: Path) -> None:
    from safetensors.torch import load_file

    folder = tiny_experts_folder / "numbers"
    adapter = read_adapter(str(folder))
    expected = load_file(folder / "adapter_model.safetensors")
    assert adapter.name == "numbers"
    assert adapter.source == str(folder)
    assert adapter.config == json.loads((folder / "adapter_config.json").read_text())
    assert adapter.tensors.keys() == expected.keys()
    assert all(torch.equal(adapter.tensors[name], expected[name]) for name in expected)


def test_pickled_weights_are_refused_unopened(experts: Path) -> None:
    (experts / "towns" / "adapter_model.safetensors").unlink()
    (experts / "towns" / "adapter_model.bin").write_bytes(b"never read")
    with pytest.raises(InputError, match="pickled adapter_model.bin.*save_pretrained"):
        read_adapter(str(experts / "towns"))


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_missing_and_empty_files_are_named(experts: Path, file: str) -> None:
    (experts / "towns" / file).write_bytes(b"")
    with pytest.raises(InputError, match=f"{file}' ?, but it is empty"):
        read_adapter(str(experts / "towns"))
    (experts / "towns" / file).unlink()
    with pytest.raises(InputError, match=f"Expected {file} in .*towns"):
        read_adapter(str(experts / "towns"))
    # Half an adapter among whole ones is an error too, not an expert fewer.
    assert str(experts / "towns") in find_adapters(str(experts))


@pytest.mark.parametrize("length", [4, 100, 5000])
def test_truncated_weights_are_refused_with_their_size(experts: Path, length: int) -> None:
    path = experts / "towns" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=rf"\({length} bytes\).*truncated"):
        read_adapter(str(experts / "towns"))


def test_a_git_lfs_pointer_is_told_from_weights(experts: Path) -> None:
    (experts / "towns" / "adapter_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid 1\n")
    with pytest.raises(InputError, match="git lfs pull"):
        read_adapter(str(experts / "towns"))


def test_broken_json_is_refused_with_line_and_column(experts: Path) -> None:
    (experts / "towns" / "adapter_config.json").write_text('{\n  "r": 4,\n  "lora_alpha" 8\n}')
    with pytest.raises(InputError, match="line 3, column 16"):
        read_adapter(str(experts / "towns"))


@pytest.mark.parametrize("content", ["[1, 2]", "4", "null"])
def test_json_that_is_not_an_object_is_refused(experts: Path, content: str) -> None:
    (experts / "towns" / "adapter_config.json").write_text(content)
    with pytest.raises(InputError, match="Expected a JSON object"):
        read_adapter(str(experts / "towns"))


def test_a_hub_id_is_read_from_the_cache_or_refused_without_a_connection(
    experts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    cached = tmp_path / "hub" / "models--owner--numbers"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    (cached / "snapshots").mkdir()
    (experts / "numbers").rename(cached / "snapshots" / ("0" * 40))
    adapter = read_adapter("owner/numbers")
    assert (adapter.name, adapter.source, adapter.config["r"]) == ("owner/numbers", "owner/numbers", 4)
    with pytest.raises(InputError, match="an adapter at 'owner/towns'.*HF_HUB_OFFLINE"):
        read_adapter("owner/towns")


def test_a_config_in_another_encoding_is_refused(experts: Path) -> None:
    (experts / "towns" / "adapter_config.json").write_bytes(b'{"r": "\xe9"}')
    with pytest.raises(InputError, match=r"adapter_config\.json to be UTF-8 text, but byte 7"):
        read_adapter(str(experts / "towns"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_config_with_a_byte_order_mark_is_read(experts: Path, encoding: str) -> None:
    path = experts / "towns" / "adapter_config.json"
    plain = path.read_text(encoding="utf-8")
    path.write_text(plain, encoding=encoding)
    assert read_adapter(str(experts / "towns")).config == json.loads(plain)
