"""Adapters that differ in ranks, scalings and targets compute in their common form what plain PEFT computes."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from swarm_lightning.experts.common_form import pattern_of
from swarm_lightning.experts.export.adapter import export_adapter
from swarm_lightning.experts.export.model_card import CardFacts, render_card
from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base

TOKENS = torch.tensor([[1, 40, 50, 60, 70, 80], [1, 41, 300, 7, 9, 11]])
QUERY = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"


@torch.no_grad()
def logits(model: torch.nn.Module, tokens: Tensor = TOKENS) -> Tensor:
    return model(input_ids=tokens).logits


def plain_peft(base_folder: Path, adapter: Path) -> Tensor:
    base = AutoModelForCausalLM.from_pretrained(base_folder)
    return logits(PeftModel.from_pretrained(base, str(adapter)).eval())


@pytest.fixture
def mixed(mixed_experts_folder: Path) -> ExpertPool:
    with pytest.warns(UserWarning, match="Ranks differ"):
        return load_pool(str(mixed_experts_folder))


def test_every_expert_computes_what_plain_peft_makes_of_its_files(
    tiny_base_folder: Path, mixed_experts_folder: Path, mixed: ExpertPool
) -> None:
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], mixed)
    adapted.load(mixed.vectors)
    adapted.batch.rows, adapted.batch.tokens = 2 * len(mixed.names), TOKENS.shape[1]
    found = logits(adapted.model, TOKENS.repeat(len(mixed.names), 1)).chunk(len(mixed.names))
    expected = [plain_peft(tiny_base_folder, mixed_experts_folder / name) for name in mixed.names]
    for rows, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(rows, reference, rtol=1e-5, atol=1e-5)
    assert len({tuple(each.flatten().tolist()) for each in expected}) == 6


def test_what_is_found_between_them_is_an_adapter_that_plain_peft_loads_to_the_same_function(
    tiny_base_folder: Path, mixed: ExpertPool, tmp_path: Path
) -> None:
    vector = mixed.vectors.mean(dim=0)
    folder = export_adapter(tmp_path / "best", vector, mixed, "card")
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], mixed)
    adapted.load(vector)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # PEFT warns of keys that are missing or left over
        found = plain_peft(tiny_base_folder, folder)
    torch.testing.assert_close(found, logits(adapted.model), rtol=1e-5, atol=1e-5)
    again = load_pool([str(folder), str(shutil.copytree(folder, tmp_path / "copy"))])
    assert again.notes == ()
    assert torch.equal(again.vectors[0], vector)


def test_matrices_are_padded_with_zeros_and_the_rest_of_the_scaling_is_in_b(
    mixed_experts_folder: Path, mixed: ExpertPool
) -> None:
    names = list(mixed.names)
    files = {name: load_file(mixed_experts_folder / name / "adapter_model.safetensors") for name in names}
    tensors = {name: mixed.layout.unflatten(row) for name, row in zip(names, mixed.vectors, strict=True)}
    # The largest ranks of the queries: 6 in layer 0 (patterned), 5 in layer 1 (rank-stabilised).
    down, up = QUERY.format(0, "A"), QUERY.format(0, "B")
    assert tensors["common"][down].shape == (6, 32)
    assert tensors["common"][QUERY.format(1, "A")].shape == (5, 32)
    # common, few and the rest of patterned make 2 = 8 / 4 = 6 / 3 the commonest scaling: common stands as it is.
    assert torch.equal(tensors["common"][down][:4], files["common"][down])
    assert torch.equal(tensors["common"][up][:, :4], files["common"][up])
    assert not tensors["common"][down][4:].any()
    assert not tensors["common"][up][:, 4:].any()
    assert not tensors["few"][down].any()
    assert not tensors["few"][up].any()
    # patterned: rank 6 and alpha 6 make 1 in layer 0; rank-stabilised: 3 / sqrt(5).
    assert torch.equal(tensors["patterned"][up], files["patterned"][up] / 2)
    torch.testing.assert_close(tensors["rank-stabilised"][up][:, :5], files["rank-stabilised"][up] * 3 / 5**0.5 / 2)
    assert torch.equal(tensors["rank-stabilised"][down][:5], files["rank-stabilised"][down])


def test_the_common_config_names_every_layer_with_its_rank_and_one_scaling(mixed: ExpertPool) -> None:
    config = mixed.config
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (6, 12, False)
    assert all(config["alpha_pattern"][key] == 2 * rank for key, rank in config["rank_pattern"].items())
    json.dumps(config)


def test_what_was_changed_is_told_and_stands_on_the_card(mixed: ExpertPool) -> None:
    ranks, scalings, layers = mixed.notes
    assert "4: 'common', 'few'; 2: 'loud'; 1: 'narrow'; 3 to 6: 'patterned'; 5: 'rank-stabilised'" in ranks
    assert "padded with zeros to 2 to 6" in ranks
    assert "2: 'common', 'few'; 3.75: 'loud'; 0.3: 'narrow'; 0.3333 to 2: 'patterned'; 1.342: 'rank-sta" in scalings
    assert "all are 2 now" in scalings
    assert "adapts all of the 14 layers" in layers
    assert "'few'" in layers
    card = render_card(CardFacts("best", "owner/base", mixed.names, "task", notes=mixed.notes))
    assert ModelCard(card).data.to_dict()["library_name"] == "peft"
    assert "padded with zeros to 2 to 6" in card
    assert "padded" not in render_card(CardFacts("best", "owner/base", mixed.names, "task"))


@pytest.mark.parametrize(
    "settings", [{"lora_alpha": 4, "r": 4}, {"lora_alpha": 4, "use_rslora": True}, {"alpha_pattern": {"q_proj": 8.0}}]
)
def test_equal_ranks_and_scalings_need_no_other_form_however_they_are_spelt(
    experts: Path, change_config: Callable[..., None], settings: dict[str, object]
) -> None:
    for folder in experts.iterdir():
        change_config(folder, **settings)
    # 8 / 4 = 4 / sqrt(4): two spellings of one scaling.
    change_config(experts / "towns", lora_alpha=settings.get("lora_alpha", 8), r=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool = load_pool(str(experts))
    assert pool.notes == ()
    assert pool.config == json.loads((experts / "colours" / "adapter_config.json").read_text())
    files = load_file(experts / "towns" / "adapter_model.safetensors")
    assert torch.equal(pool.vectors[3], torch.cat([files[key].flatten() for key in sorted(files)]))


def test_experts_that_never_scale_are_carried_too(
    tiny_base_folder: Path, experts: Path, change_config: Callable[..., None]
) -> None:
    change_config(experts / "towns", lora_alpha=0)
    with (
        pytest.warns(UserWarning, match="0: 'towns'"),
        pytest.warns(UserWarning, match="answer exactly like the base.*: towns"),
    ):
        pool = load_pool(str(experts))
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], pool)
    adapted.load(pool.vectors[3])
    assert torch.equal(logits(adapted.model), logits(AutoModelForCausalLM.from_pretrained(tiny_base_folder)))


def test_a_pattern_matches_its_layers_and_no_others() -> None:
    import re

    layers = ["model.layers.0.q", "model.layers.11.q", "model.layers.0.experts.3.up", "head", "model.h.1.c"]
    pattern = pattern_of(layers)
    assert all(re.fullmatch(pattern, layer) for layer in layers)
    others = ["model.layers.1.q", "vision.model.layers.0.q", "modelxlayers.0.q", "model.layers.0.experts.30.up"]
    assert not any(re.fullmatch(pattern, other) for other in [*others, "heads", "model.layers.0.experts.11.up"])
