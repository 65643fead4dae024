"""What PEFT does under its door, against its documented interface or a calculation by hand."""

from dataclasses import MISSING
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from swarm_lightning.doors.peft import (
    adapted_but_not_linear,
    has_adapters,
    keep_at_random,
    keep_largest,
    lora_settings,
    means_layer,
    merge_by_elected_signs,
    pattern_of,
    wrap_layers,
)
from tests.doors.contract import changed
from tests.doors.tiny_models import make

pytestmark = pytest.mark.smoke
DOOR = "peft.py"
SETTINGS: dict[str, Any] = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"}


def test_wrapped_layers_are_those_that_a_config_means_with_its_ranks_and_scalings() -> None:
    base = make("llama")
    config = LoraConfig(
        **SETTINGS, target_modules=["q_proj", "down_proj"], rank_pattern={"down_proj": 2}, inference_mode=True
    )
    linear = {name: module for name, module in base.named_modules() if name.endswith(("q_proj", "down_proj"))}
    found = {one.name: one for one in wrap_layers(base, config)}
    message = changed("peft", "its LoRA layers", DOOR)
    assert found.keys() == linear.keys(), message
    for name, one in found.items():
        assert one.base_layer is linear[name], message
        assert one.parts == ("lora_A.weight", "lora_B.weight"), message
        assert one.scaling == (4 if name.endswith("down_proj") else 2), message
        assert one.dtype == torch.float32, message
        assert base.get_submodule(name) is not linear[name], changed("peft", "that a base is changed in place", DOOR)


def test_names_of_parts_are_those_of_saved_adapters() -> None:
    from peft import get_peft_model_state_dict

    config = LoraConfig(**SETTINGS, target_modules=["q_proj"], use_dora=True)
    saved = get_peft_model_state_dict(get_peft_model(make("llama"), LoraConfig(**SETTINGS, target_modules=["q_proj"])))
    plain = LoraConfig(**SETTINGS, target_modules=["q_proj"])
    named = {f"base_model.model.{one.name}.{part}" for one in wrap_layers(make("llama"), plain) for part in one.parts}
    assert named == set(saved), changed("peft", "names in an adapter's file", DOOR)
    assert all("lora_magnitude_vector" in one.parts for one in wrap_layers(make("llama"), config))


def test_lora_weights_stay_in_float32_on_a_base_of_less_precision() -> None:
    base = make("llama").bfloat16()
    (one, *_) = wrap_layers(base, LoraConfig(**SETTINGS, target_modules=["q_proj"]))
    assert one.dtype == torch.float32, changed("peft", "autocast_adapter_dtype", DOOR)
    (one, *_) = wrap_layers(make("llama").double(), LoraConfig(**SETTINGS, target_modules=["q_proj"]))
    assert one.dtype == torch.float64, changed("peft", "the dtype of LoRA on a float64 base", DOOR)


def test_a_config_that_means_no_layer_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="not found in the base model"):
        wrap_layers(make("llama"), LoraConfig(**SETTINGS, target_modules=["nothing"]))


def test_adapters_in_a_model_are_noticed() -> None:
    base = make("llama")
    assert not has_adapters(base)
    get_peft_model(base, LoraConfig(**SETTINGS, target_modules=["q_proj"]))
    assert has_adapters(base), changed("peft", "BaseTunerLayer", DOOR)
    assert adapted_but_not_linear(base) == []


def test_an_adapted_embedding_is_not_linear() -> None:
    base = make("llama")
    get_peft_model(base, LoraConfig(**SETTINGS, target_modules=["q_proj", "embed_tokens"]))
    assert adapted_but_not_linear(base) == ["model.embed_tokens"], changed("peft", "its kinds of LoRA layers", DOOR)


@pytest.mark.parametrize(
    ("settings", "layer", "expected"),
    [
        ({"target_modules": ["q_proj"]}, "model.layers.0.self_attn.q_proj", True),
        ({"target_modules": ["q_proj"]}, "model.layers.0.self_attn.xq_proj", False),
        ({"target_modules": r".*\.1\..*q_proj"}, "model.layers.0.self_attn.q_proj", False),
        ({"target_modules": r".*\.1\..*q_proj"}, "model.layers.1.self_attn.q_proj", True),
        ({"target_modules": ["q_proj"], "layers_to_transform": [1]}, "model.layers.0.self_attn.q_proj", False),
        ({"target_modules": ["q_proj"], "exclude_modules": ["q_proj"]}, "model.layers.0.self_attn.q_proj", False),
    ],
)
def test_a_config_means_the_layers_that_peft_would_wrap(settings: dict[str, Any], layer: str, expected: bool) -> None:
    found = means_layer(LoraConfig(**settings), layer)
    assert found == expected, changed("peft", "check_target_module_exists", DOOR)


def test_patterns_fit_the_end_of_a_layer_s_path() -> None:
    message = changed("peft", "get_pattern_key", DOOR)
    assert pattern_of(["v_proj", "q_proj"], "layers.0.q_proj") == "q_proj", message
    assert pattern_of([r"layers\.1\..*"], "layers.1.q_proj") == r"layers\.1\..*", message
    assert pattern_of(["proj"], "layers.0.q_proj") == "layers.0.q_proj", message


def test_settings_of_an_adapter_are_known_with_their_defaults() -> None:
    known = lora_settings()
    message = changed("peft", "LoraConfig", DOOR)
    assert {"r": 8, "lora_alpha": 8, "bias": "none", "use_dora": False}.items() <= known.items(), message
    assert known["rank_pattern"] is MISSING, message
    assert "runtime_config" not in known
    LoraConfig(**{name: value for name, value in known.items() if value is not MISSING and name != "peft_type"})


def test_the_largest_weights_are_kept_rounded_down() -> None:
    tensor = torch.tensor([[3.0, -4.0], [0.5, 1.0]])
    message = changed("peft", "prune", DOOR)
    assert keep_largest(tensor, 0.5).tolist() == [[3, -4], [0, 0]], message
    assert keep_largest(tensor, 0.74).tolist() == [[3, -4], [0, 0]], message


def test_weights_of_the_elected_sign_are_averaged() -> None:
    # Sums 4, -2 and 1: signs +, - and +; the mean of 3 and 1, of -3, and of 1 alone.
    stacked = torch.tensor([[3.0, 1.0, 0.0], [1.0, -3.0, 1.0]])
    found = merge_by_elected_signs(stacked)
    assert found.tolist() == [2, -3, 1], changed("peft", "disjoint_merge or calculate_majority_sign_mask", DOOR)


def test_weights_are_kept_at_random_rescaled_and_drawn_from_the_process() -> None:
    tensor = torch.full((1000,), 2.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = keep_at_random(tensor, 0.25)
        torch.manual_seed(0)
        kept = torch.bernoulli(torch.full((1000,), 0.25))
    assert torch.equal(found, 8 * kept), changed("peft", "prune", DOOR)  # 2 / 0.25
