import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from swarm_lightning.errors import InputError
from swarm_lightning.experts.resident import cpu_dtypes
from swarm_lightning.experts.resident.base_model import base_fingerprint, load_base


@pytest.fixture
def folder(tiny_base_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny base that a test may break."""
    return Path(shutil.copytree(tiny_base_folder, tmp_path / "base"))


def test_the_base_is_frozen_in_eval_mode_and_pads_on_the_left(tiny_base_folder: Path) -> None:
    model, tokenizer = load_base(str(tiny_base_folder))
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert tokenizer.padding_side == "left"
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<pad>", "</s>")
    expected = AutoModelForCausalLM.from_pretrained(tiny_base_folder).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("dtype", "expected"), [("auto", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_the_dtype_is_the_asked_one(tiny_base_folder: Path, dtype: str, expected: torch.dtype) -> None:
    assert load_base(str(tiny_base_folder), dtype)[0].dtype == expected


def set_tokenizer(folder: Path, **tokens: str | None) -> int:
    """Save a tokenizer without some of its special tokens; return its length."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for name, token in tokens.items():
        setattr(tokenizer, name, token)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def test_without_a_pad_token_end_of_text_pads_and_no_token_is_added(folder: Path) -> None:
    length = set_tokenizer(folder, pad_token=None)
    _, tokenizer = load_base(str(folder))
    assert (tokenizer.pad_token, tokenizer.pad_token_id, len(tokenizer)) == ("</s>", 2, length)


def test_without_pad_and_end_of_text_the_first_token_pads(folder: Path) -> None:
    length = set_tokenizer(folder, pad_token=None, eos_token=None)
    _, tokenizer = load_base(str(folder))
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, len(tokenizer)) == (0, None, length)


def test_a_pad_token_that_the_base_has_no_embedding_for_is_not_used(folder: Path) -> None:
    set_tokenizer(folder, pad_token="<extra>")
    assert AutoTokenizer.from_pretrained(folder).pad_token_id == 320
    assert load_base(str(folder))[1].pad_token_id == 2


def test_a_wrong_path_is_answered_with_the_nearest_name(folder: Path) -> None:
    with pytest.raises(InputError, match="Did you mean .*/base'"):
        load_base(str(folder.parent / "bsae"))


def test_of_a_gguf_file_it_is_said_how_it_becomes_a_folder(folder: Path) -> None:
    (folder / "small.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"small.gguf' is a file. .*, gguf_file='small.gguf'\)"):
        load_base(str(folder / "small.gguf"))


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(InputError, match="auto, float32, bfloat16, float16, but got 'int4'"):
        load_base("anything", "int4")


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        ("config.json", None, "no config.json; it holds: .*model.safetensors"),
        ("model.safetensors", None, "there are none"),
        ("model.safetensors", "pytorch_model.bin", "pickled pytorch_model.bin, which can run code"),
        ("token*", None, "Expected a tokenizer in"),
        ("", "adapter_config.json", "give this folder as an expert"),
        ("config.json", "small.Q4.gguf", r"it holds small.Q4.gguf. .* gguf_file='small.Q4.gguf'\)"),
    ],
)
def test_a_folder_that_is_not_a_whole_model_is_refused(
    folder: Path, removed: str, added: str | None, message: str
) -> None:
    for path in folder.glob(removed) if removed else ():
        path.unlink()
    if added:
        (folder / added).write_bytes(b"")
    with pytest.raises(InputError, match=message):
        load_base(str(folder))


def test_broken_files_are_refused_with_what_is_wrong(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(InputError, match="a base model in .* can't be loaded"):
        load_base(str(folder))
    weights.write_bytes(whole)
    tokenizer = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(tokenizer[:500])
    with pytest.raises(InputError, match="a tokenizer in .* can't be loaded"):
        load_base(str(folder))
    (folder / "config.json").write_text('{"model_type": }')
    with pytest.raises(InputError, match="line 1, column 16"):
        load_base(str(folder))


def test_weights_that_are_missing_are_refused_rather_than_drawn_at_random(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="1 tensors are missing, first 'model.layers.1.mlp.up_proj.weight'"):
        load_base(str(folder))


def test_code_that_comes_with_a_model_does_not_run_unasked(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    config["model_type"] = "something_new"
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'it_ran')!r}, 'w')\n")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="trust_remote_code"):
        load_base(str(folder))
    del config["model_type"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="set trust_remote_code to true"):
        load_base(str(folder))
    assert not (tmp_path / "it_ran").exists()


def test_without_a_connection_a_hub_id_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="a base model at 'owner/name'.*HF_HUB_OFFLINE"):
        load_base("owner/name")


def test_a_fingerprint_tells_bases_apart_and_not_where_they_lie(tiny_base_folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(tiny_base_folder, tmp_path / "copied")
    model, _ = load_base(str(tiny_base_folder))
    same, _ = load_base(str(copied))
    assert base_fingerprint(model) == base_fingerprint(same)
    same.state_dict()["model.norm.weight"][0] += 1
    assert base_fingerprint(model) != base_fingerprint(same)


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the processor does not matter")
def test_a_base_in_a_dtype_that_the_processor_lacks_stays_as_stored_with_a_hint(
    tiny_base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = load_base(str(tiny_base_folder), "bfloat16")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "cpuinfo").write_text("flags : fpu avx2\n")
    monkeypatch.setattr(cpu_dtypes, "CPU_INFO", tmp_path / "cpuinfo")
    with pytest.warns(UserWarning, match="stored in bfloat16.*set dtype to float32"):
        assert load_base(str(tmp_path))[0].dtype == torch.bfloat16
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert load_base(str(tmp_path), "float32")[0].dtype == torch.float32
