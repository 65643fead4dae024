import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import read_adapter


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


def test_an_adapter_is_called_by_the_link_that_leads_to_it(experts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (experts / "towns").rename(experts.parent / "9f3a")
    (experts / "towns").symlink_to(experts.parent / "9f3a")
    for source in ("towns", "towns/", "./towns", "numbers/../towns", str(experts / "towns" / ".")):
        monkeypatch.chdir(experts)
        assert read_adapter(source).name == "towns"
    monkeypatch.chdir(experts / "numbers")
    assert read_adapter(".").name == "numbers"
    assert read_adapter(os.path.join("..", "towns")).name == "towns"


def test_the_name_of_an_adapter_in_a_live_model_is_taken_out_of_its_tensors(
    experts: Path, change_tensors: Callable[..., None]
) -> None:
    expected = read_adapter(str(experts / "towns")).tensors
    change_tensors(
        experts / "towns", lambda old: {name.replace(".weight", ".default.weight"): one for name, one in old.items()}
    )
    found = read_adapter(str(experts / "towns")).tensors
    assert found.keys() == expected.keys()
    assert all(found[name].equal(expected[name]) for name in expected)
    change_tensors(experts / "towns", lambda old: old | {name: one.clone() for name, one in expected.items()})
    with pytest.raises(InputError, match="every matrix once, but .*towns' holds .*default.weight"):
        read_adapter(str(experts / "towns"))


def test_whole_layers_are_kept_apart_and_alone_are_no_adapter(
    experts: Path, change_tensors: Callable[..., None]
) -> None:
    layer = "base_model.model.lm_head.base_layer"
    extra = {f"{layer}.weight": torch.ones(6, 4), f"{layer}.bias": torch.ones(6)}
    before = read_adapter(str(experts / "towns"))
    change_tensors(experts / "towns", lambda old: old | extra)
    adapter = read_adapter(str(experts / "towns"))
    assert adapter.tensors.keys() == before.tensors.keys()
    assert not before.copies
    assert {name: copy.shape for name, copy in adapter.copies.items()} == {
        name: tuple(one.shape) for name, one in extra.items()
    }
    change_tensors(experts / "towns", lambda old: extra)
    with pytest.raises(InputError, match="only whole layers, such as .*lm_head"):
        read_adapter(str(experts / "towns"))
