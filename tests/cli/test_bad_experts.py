"""Experts and bases that can't be used are refused with one message, by a search and by the command alike."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from swarm_lightning.errors import InputError
from tests.cli.refused import message_of
from tests.search.tiny_search import World, search

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
QUERY = "base_model.model.model.layers.0.self_attn.q_proj"
Break = Callable[[Path], None]


def settings(**changes: Any) -> Break:
    def change(expert: Path) -> None:
        path = expert / CONFIG
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def tensors(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Break:
    return lambda expert: save_file(change(load_file(expert / WEIGHTS)), expert / WEIGHTS)


def file(name: str, change: Callable[[bytes], bytes | str | None]) -> Break:
    def write(expert: Path) -> None:
        written = change((expert / name).read_bytes())
        if written is None:
            (expert / name).unlink()
        else:
            (expert / name).write_bytes(written.encode() if isinstance(written, str) else written)

    return write


def pickled(expert: Path) -> None:
    torch.save(load_file(expert / WEIGHTS), expert / "adapter_model.bin")
    (expert / WEIGHTS).unlink()


def of_a_wider_base(expert: Path) -> None:
    tensors(lambda old: {name: torch.cat([one, one], 1 if "lora_A" in name else 0) for name, one in old.items()})(
        expert
    )


def swapped(expert: Path) -> None:
    """The weights of an adapter with fewer targets."""
    tensors(lambda old: {name: one for name, one in old.items() if "v_proj" not in name})(expert)


def header_of_a_petabyte(expert: Path) -> None:
    (expert / WEIGHTS).write_bytes((10**15).to_bytes(8, "little") + b"{}")


def a_folder_for_weights(expert: Path) -> None:
    (expert / WEIGHTS).unlink()
    (expert / WEIGHTS).mkdir()


def another_tokenizer(expert: Path) -> None:
    (expert / "tokenizer.json").write_text('{"model": {"vocab": {"a": 1, "b": 2}}, "added_tokens": []}')


def a_trained_head(expert: Path) -> None:
    tensors(lambda old: old | {"base_model.model.lm_head.weight": torch.ones(316, 32)})(expert)


BROKEN_EXPERTS: dict[str, tuple[Break, str]] = {
    "weights missing": (file(WEIGHTS, lambda old: None), f"Expected {WEIGHTS} in .*towns"),
    "saved from a compiled model": (
        tensors(lambda old: {name.replace("model.layers", "_orig_mod.model.layers"): one for name, one in old.items()}),
        "'towns' has '.*_orig_mod.*Save the adapter again",
    ),
    "another tokenizer": (another_tokenizer, "that of 'towns' differs from that of the base"),
    "a whole layer": (a_trained_head, "'towns' carries 'base_model.model.lm_head.weight'.*save_embedding_layers=False"),
    "weights empty": (file(WEIGHTS, lambda old: b""), "is empty"),
    "weights truncated in the header": (file(WEIGHTS, lambda old: old[:50]), r"\(50 bytes\).*truncated"),
    "weights truncated": (file(WEIGHTS, lambda old: old[:-7]), "truncated"),
    "weights that are text": (file(WEIGHTS, lambda old: "no tensors here"), "Expected safetensors in"),
    "weights in a header without end": (header_of_a_petabyte, "Expected safetensors in"),
    "weights a folder": (a_folder_for_weights, f"Expected {WEIGHTS} in"),
    "weights not fetched": (file(WEIGHTS, lambda old: "version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "weights pickled": (pickled, "pickled adapter_model.bin, which can run code and is never opened"),
    "config missing": (file(CONFIG, lambda old: None), f"Expected {CONFIG} in .*towns"),
    "config empty": (file(CONFIG, lambda old: ""), "is empty"),
    "config broken": (file(CONFIG, lambda old: '{\n  "r": 4,\n  "lora_alpha" 8\n}'), "line 3, column 16"),
    "config cut off": (file(CONFIG, lambda old: old[:40]), "line [0-9]+, column [0-9]+"),
    "config a list": (file(CONFIG, lambda old: "[1]"), "Expected a JSON object"),
    "config in UTF-16 without a mark": (
        file(CONFIG, lambda old: old.decode().encode("utf-16-le")),
        "line 1, column 2 breaks it",
    ),
    "config nested without end": (file(CONFIG, lambda old: "[" * 100_000), "can't be read"),
    "no LoRA": (settings(peft_type="IA3"), "'towns' has 'IA3'"),
    "DoRA": (settings(use_dora=True), "'towns' has use_dora=True"),
    "bias": (settings(bias="all"), "'towns' has bias='all'"),
    "bias of B": (settings(lora_bias=True), "'towns' has lora_bias=True"),
    "modules to save": (settings(modules_to_save=["lm_head"]), "'towns' has modules_to_save"),
    "changed base": (settings(init_lora_weights="pissa"), "'towns' has init_lora_weights='pissa'"),
    "layers replicated": (settings(layer_replication=[[0, 2], [0, 2]]), "'towns' has layer_replication"),
    "classifier": (settings(task_type="SEQ_CLS"), "'towns' has task_type='SEQ_CLS'"),
    "rank of another adapter": (settings(r=8), "Expected rank 8 .*'towns'.*belong to different adapters"),
    "rank zero": (settings(r=0), r"rank \(r\) of 'towns'.*got 0"),
    "rank a text": (settings(r="four"), r"rank \(r\) of 'towns'.*got 'four'"),
    "alpha no number": (settings(lora_alpha=float("nan")), r"alpha \(lora_alpha\) of 'towns'.*got nan"),
    "rank of a layer": (settings(rank_pattern={"q_proj": -1}), r"rank_pattern\['q_proj'\]\) of 'towns'.*got -1"),
    "pattern broken": (settings(alpha_pattern={"(q_proj": 1}), "keys of alpha_pattern .*'towns' has '\\(q_proj'"),
    "targets broken": (settings(target_modules="*_proj"), "'towns' to name the layers it adapts"),
    "targets of another adapter": (settings(target_modules=["q_proj"]), "'towns' to hold just the layers"),
    "weights of another adapter": (swapped, "names 'model.layers.0.self_attn.v_proj' and the file .* lacks it"),
    "half a pair": (
        tensors(lambda old: {name: one for name, one in old.items() if name != f"{QUERY}.lora_B.weight"}),
        "in pairs, but 'towns' has",
    ),
    "no tensors": (tensors(lambda old: {}), "holds none"),
    "embedding": (
        tensors(lambda old: {**old, "base_model.model.model.embed_tokens.lora_embedding_A": torch.zeros(2, 2)}),
        "it adapts an embedding",
    ),
    "magnitudes": (
        tensors(lambda old: {**old, f"{QUERY}.lora_magnitude_vector": torch.zeros(32)}),
        "'towns' carries .*it is a DoRA magnitude",
    ),
    "NaN": (
        tensors(
            lambda old: {name: one.fill_(float("nan")) if name.startswith(QUERY) else one for name, one in old.items()}
        ),
        "128 of 128 numbers in .* of 'towns' are NaN or infinite",
    ),
    "quantised": (tensors(lambda old: {name: one.to(torch.int8) for name, one in old.items()}), "has dtype torch.int8"),
    "one of another base": (of_a_wider_base, "'towns' has [0-9]+ .*adapter of another base"),
}


def refusal(world: World, folder: Path, model: dict[str, Any]) -> str:
    """Return what a search of these models says instead of beginning; what the command makes of it is the last test."""
    with pytest.raises(InputError) as refused:
        search(replace(world, base=model.get("base", world.base)), folder / "runs", experts=model.get("experts"))
    assert not (folder / "runs").exists()
    return str(refused.value)


@pytest.mark.parametrize("case", BROKEN_EXPERTS)
def test_a_broken_expert_is_refused_by_name(world: World, tmp_path: Path, case: str) -> None:
    change, expected = BROKEN_EXPERTS[case]
    experts = Path(shutil.copytree(world.experts, tmp_path / "experts"))
    change(experts / "towns")
    told = refusal(world, tmp_path, {"experts": str(experts)})
    assert re.search(expected, told), told
    assert "towns" in told


def empty_folder(world: World, folder: Path) -> dict[str, Any]:
    (folder / "empty").mkdir()
    return {"experts": str(folder / "empty")}


def a_file_for_experts(world: World, folder: Path) -> dict[str, Any]:
    return {"experts": str(world.experts / "towns" / WEIGHTS)}


def misspelt(world: World, folder: Path) -> dict[str, Any]:
    return {"experts": str(world.experts.parent / "expert")}


def one_twice(world: World, folder: Path) -> dict[str, Any]:
    return {"experts": [str(world.experts), str(world.experts / "towns")]}


def all_of_another_base(world: World, folder: Path) -> dict[str, Any]:
    experts = Path(shutil.copytree(world.experts, folder / "experts"))
    for expert in experts.iterdir():
        of_a_wider_base(expert)
    return {"experts": str(experts)}


def layers_of_another_base(world: World, folder: Path) -> dict[str, Any]:
    experts = Path(shutil.copytree(world.experts, folder / "experts"))
    for expert in experts.iterdir():
        tensors(lambda old: {name.replace("layers.1.", "layers.7."): one for name, one in old.items()})(expert)
    return {"experts": str(experts)}


def base_with(name: str, change: Callable[[bytes], bytes | str | None]) -> Callable[[World, Path], dict[str, Any]]:
    def build(world: World, folder: Path) -> dict[str, Any]:
        base = Path(shutil.copytree(world.base, folder / "base"))
        file(name, change)(base)
        return {"base": str(base)}

    return build


def pickled_base(world: World, folder: Path) -> dict[str, Any]:
    base = Path(shutil.copytree(world.base, folder / "base"))
    torch.save(load_file(base / "model.safetensors"), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    return {"base": str(base)}


def without_tokenizer(world: World, folder: Path) -> dict[str, Any]:
    base = Path(shutil.copytree(world.base, folder / "base"))
    for path in base.glob("tokenizer*"):
        path.unlink()
    return {"base": str(base)}


MODELS: dict[str, tuple[Callable[[World, Path], dict[str, Any]], str]] = {
    "experts missing": (misspelt, "Did you mean '.*experts'"),
    "experts an empty folder": (empty_folder, "it holds: nothing"),
    "experts a file": (a_file_for_experts, "is a file. Name the folder"),
    "experts none": (lambda world, folder: {"experts": []}, "empty list"),
    "experts a single one": (lambda world, folder: {"experts": str(world.experts / "towns")}, "at least two experts"),
    "experts given twice": (one_twice, "towns' is given 2 times"),
    "experts of no demo": (lambda world, folder: {"experts": "demo:nowhere"}, "nowhere"),
    "experts an empty name": (lambda world, folder: {"experts": ""}, "got an empty one"),
    "experts of another base": (all_of_another_base, "is made for .* inputs and .* outputs, but the base has"),
    "experts of a deeper base": (layers_of_another_base, "carries 'model.layers.7.*has no such module"),
    "base missing": (lambda world, folder: {"base": str(world.base / "nowhere")}, "nowhere"),
    "base an adapter": (lambda world, folder: {"base": str(world.experts / "towns")}, "adapter"),
    "base an empty name": (lambda world, folder: {"base": " "}, "got an empty one"),
    "base without config": (base_with("config.json", lambda old: None), "config.json"),
    "base with a broken config": (base_with("config.json", lambda old: old[:30]), "config.json|JSON"),
    "base of an unknown kind": (
        base_with("config.json", lambda old: old.replace(b'"llama"', b'"lama9"').replace(b"LlamaFor", b"Lama9For")),
        "lama9",
    ),
    "base truncated": (base_with("model.safetensors", lambda old: old[:-10]), "SafetensorError.*Copy or save it again"),
    "base with empty weights": (
        base_with("model.safetensors", lambda old: b""),
        "SafetensorError.*Copy or save it again",
    ),
    "base pickled": (pickled_base, "safetensors|pickled"),
    "base without tokenizer": (without_tokenizer, "tokenizer"),
    "base with a broken tokenizer": (base_with("tokenizer.json", lambda old: old[:100]), "tokenizer"),
}


@pytest.mark.parametrize("case", MODELS)
def test_experts_and_bases_that_can_not_be_used_are_refused(world: World, tmp_path: Path, case: str) -> None:
    model, expected = MODELS[case]
    told = refusal(world, tmp_path, model(world, tmp_path))
    assert re.search(expected, told), told


@pytest.mark.parametrize(
    "case", ["experts of another base", "base truncated", "base without config", "experts missing"]
)
def test_the_command_says_it_in_one_message_and_writes_nothing(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    model, expected = MODELS[case]
    told = message_of(world.config(tmp_path / "runs", model=model(world, tmp_path)), tmp_path, capsys)
    assert re.search(expected, told), told
