import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import Adapter, read_adapter
from swarm_lightning.experts.checks import check_adapters, check_base
from swarm_lightning.experts.export.adapter import export_adapter
from swarm_lightning.experts.pool import load_pool
from swarm_lightning.experts.resident.base_model import load_base
from tests.conftest import save_adapter

LAYER = "base_model.model.model.layers.1.self_attn.q_proj"


@pytest.fixture
def adapters(tiny_experts_folder: Path) -> list[Adapter]:
    return [read_adapter(str(folder)) for folder in sorted(tiny_experts_folder.iterdir())]


@pytest.fixture
def with_tensors(adapters: list[Adapter]) -> Callable[..., list[Adapter]]:
    """The four experts; the third with some tensors removed and some replaced or added."""

    def build(added: dict[str, Tensor] | None = None, removed: str = "nothing") -> list[Adapter]:
        kept = {name: tensor for name, tensor in adapters[2].tensors.items() if removed not in name}
        return [*adapters[:2], replace(adapters[2], tensors=kept | (added or {})), adapters[3]]

    return build


def test_experts_of_one_config_pass(adapters: list[Adapter]) -> None:
    check_adapters(adapters)


@pytest.mark.parametrize("removed", ["v_proj", LAYER])
def test_a_layer_that_the_config_adapts_and_the_file_lacks_is_named(
    with_tensors: Callable[..., list[Adapter]], removed: str
) -> None:
    first = "model.layers.0.self_attn.v_proj" if removed == "v_proj" else "model.layers.1.self_attn.q_proj"
    with pytest.raises(InputError, match=f"Expected 'stories' .* names '{first}' and the file with the weights lacks"):
        check_adapters(with_tensors(removed=removed))


@pytest.mark.parametrize(
    ("settings", "left_out"),
    [
        ({"target_modules": ["q_proj", "v_proj", "gate_proj", "up_proj"]}, "model.layers.0.mlp.down_proj"),
        ({"layers_to_transform": [0]}, "model.layers.1.mlp.down_proj"),
        ({"exclude_modules": ["v_proj"]}, "model.layers.0.self_attn.v_proj"),
    ],
)
def test_a_layer_that_the_file_holds_and_the_config_leaves_out_is_named(
    adapters: list[Adapter], settings: dict[str, object], left_out: str
) -> None:
    adapters[1] = replace(adapters[1], config=adapters[1].config | settings)
    with pytest.raises(InputError, match=f"'numbers' .* leaves out '{left_out}' and the file with the weights holds"):
        check_adapters(adapters)


@pytest.mark.parametrize("targets", ["*_proj", 5, {"q_proj": 1, "v_proj": [2]}])
def test_targets_that_peft_can_not_read_are_refused(adapters: list[Adapter], targets: object) -> None:
    adapters[1] = replace(adapters[1], config=adapters[1].config | {"target_modules": targets})
    with pytest.raises(InputError, match="'numbers'"):
        check_adapters(adapters)


def test_a_target_that_an_expert_was_never_meant_to_adapt_may_be_lacking(
    with_tensors: Callable[..., list[Adapter]],
) -> None:
    adapters = with_tensors(removed="v_proj")
    targets = ["q_proj", "gate_proj", "up_proj", "down_proj"]
    adapters[2] = replace(adapters[2], config=adapters[2].config | {"target_modules": targets})
    check_adapters(adapters)


def test_half_a_pair_is_named(with_tensors: Callable[..., list[Adapter]]) -> None:
    with pytest.raises(InputError, match=f"'stories' has '{LAYER}.lora_A.weight' without '{LAYER}.lora_B.weight'"):
        check_adapters(with_tensors(removed=f"{LAYER}.lora_B"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("base_model.model.model.embed_tokens.lora_embedding_A", "an embedding"),
        (f"{LAYER}.lora_magnitude_vector", "use_dora=False"),
        (f"{LAYER}.lora_B.bias", "lora_bias=False"),
        (f"{LAYER}.bias", "bias='none'"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.other.weight", "the name of an adapter"),
        ("anything", "not a LoRA matrix"),
    ],
)
def test_tensors_other_than_linear_pairs_are_refused_by_name(
    with_tensors: Callable[..., list[Adapter]], name: str, reason: str
) -> None:
    with pytest.raises(InputError, match=f"'stories' carries '{name}'.*{reason}"):
        check_adapters(with_tensors({name: torch.zeros(4, 32)}))


def test_another_number_of_inputs_is_named(with_tensors: Callable[..., list[Adapter]]) -> None:
    layer = "model.layers.1.self_attn.q_proj"
    with pytest.raises(InputError, match=rf"inputs of '{layer}', but 'stories' has 16 \(others: 32\)"):
        check_adapters(with_tensors({f"{LAYER}.lora_A.weight": torch.zeros(4, 16)}))


def test_weights_that_do_not_belong_to_the_config_are_refused(adapters: list[Adapter]) -> None:
    swapped = [replace(adapter, config=adapter.config | {"r": 16}) for adapter in adapters]
    with pytest.raises(InputError, match=r"Expected rank 16 \(adapter_config.json\) in 'colours'"):
        check_adapters(swapped)


def test_a_shared_rank_pattern_is_followed(adapters: list[Adapter]) -> None:
    patterned = []
    for adapter in adapters:
        tensors = dict(adapter.tensors)
        for name in list(tensors):
            if "layers.1.self_attn.q_proj" in name:
                tensors[name] = torch.ones(2, 32) if "lora_A" in name else torch.ones(32, 2)
        config = adapter.config | {"rank_pattern": {"layers.1.self_attn.q_proj": 2}}
        patterned.append(replace(adapter, tensors=tensors, config=config))
    check_adapters(patterned)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_named_with_its_tensor(
    with_tensors: Callable[..., list[Adapter]], value: float
) -> None:
    broken = torch.zeros(4, 32)
    broken[1, 2] = value
    with pytest.raises(InputError, match=f"1 of 128 numbers in '{LAYER}.lora_A.weight' of 'stories'"):
        check_adapters(with_tensors({f"{LAYER}.lora_A.weight": broken}))


def test_quantised_weights_are_refused(with_tensors: Callable[..., list[Adapter]]) -> None:
    with pytest.raises(InputError, match="'stories' has dtype torch.int8"):
        check_adapters(with_tensors({f"{LAYER}.lora_A.weight": torch.zeros(4, 32, dtype=torch.int8)}))


def test_mixed_precisions_pass(adapters: list[Adapter]) -> None:
    half = {name: tensor.to(torch.bfloat16) for name, tensor in adapters[1].tensors.items()}
    check_adapters([adapters[0], replace(adapters[1], tensors=half)])


def test_the_base_of_the_experts_passes(adapters: list[Adapter], tiny_base_folder: Path) -> None:
    check_base(adapters, AutoModelForCausalLM.from_pretrained(tiny_base_folder))


def small_llama(**settings: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=16, hidden_size=32, intermediate_size=64, num_attention_heads=4, num_key_value_heads=2
    )
    config.num_hidden_layers = 2
    config.update(settings)
    return LlamaForCausalLM(config)


def test_a_layer_that_the_base_lacks_is_named(adapters: list[Adapter]) -> None:
    expected = (
        r"'colours' carries 'model.layers.1.*no such module \(LlamaForCausalLM, 1 layers\).*ends at 'model.layers'"
    )
    with pytest.raises(InputError, match=expected):
        check_base(adapters, small_llama(num_hidden_layers=1))


def test_features_that_differ_are_named(adapters: list[Adapter]) -> None:
    expected = "'colours' is made for 'model.layers.0.mlp.down_proj' with 64 inputs and 32 outputs, .*48 inputs and 32"
    with pytest.raises(InputError, match=expected):
        check_base(adapters, small_llama(intermediate_size=48))


def test_a_transposed_layer_is_compared_by_inputs_and_outputs(adapters: list[Adapter]) -> None:
    base = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_embd=32, n_layer=1, n_head=2))
    path = "base_model.model.transformer.h.0.attn.c_attn"
    fitting = {f"{path}.lora_A.weight": torch.zeros(4, 32), f"{path}.lora_B.weight": torch.zeros(96, 4)}
    check_base([replace(adapters[0], tensors=fitting)], base)
    with pytest.raises(InputError, match="32 inputs and 96 outputs there"):
        check_base([replace(adapters[0], tensors=fitting | {f"{path}.lora_B.weight": torch.zeros(32, 4)})], base)


def test_a_layer_that_is_not_linear_is_refused(adapters: list[Adapter]) -> None:
    path = "base_model.model.model.norm"
    tensors = {f"{path}.lora_A.weight": torch.zeros(4, 32), f"{path}.lora_B.weight": torch.zeros(32, 4)}
    with pytest.raises(InputError, match="'model.norm' to be a linear layer.*LlamaRMSNorm"):
        check_base([replace(adapters[0], tensors=tensors)], small_llama())


def renamed(adapter: Adapter, old: str, new: str) -> Adapter:
    tensors = {name.replace(old, new, 1): tensor for name, tensor in adapter.tensors.items()}
    return replace(adapter, tensors=tensors)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("base_model.model.", "base_model.model._orig_mod.", "wrapped model .'_orig_mod.'"),
        ("layers.0.", "layers.0._checkpoint_wrapped_module.", "wrapped model"),
        ("layers.0.", "layers.0._fsdp_wrapped_module.", "wrapped model"),
        ("base_model.model.", "base_model.model.base_model.model.", "wrapped model .'base_model.model.'"),
        ("base_model.model.", "module.base_model.model.", "wrapped model"),
        ("base_model.model.", "", "begin with 'base_model.model.'"),
        ("base_model.model.", "base_model.model.module.", "'module.model.layers.<number>.* most have 'model.layers."),
        ("base_model.model.", "base_model.model.model.", "'model.model.layers.<number>.* most have 'model.layers."),
        ("base_model.model.model.", "base_model.model.", "'layers.<number>.* most have 'model.layers."),
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_an_expert_that_was_saved_from_a_wrapped_model_is_named_and_no_healthy_one(
    adapters: list[Adapter], old: str, new: str, told: str, place: int
) -> None:
    adapters[place] = renamed(adapters[place], old, new)
    with pytest.raises(InputError, match=told) as refused:
        check_adapters(adapters)
    named = [adapter.name for adapter in adapters if f"'{adapter.name}'" in str(refused.value)]
    assert named == [adapters[place].name]
    assert "Save the adapter again" in str(refused.value)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("base_model.model.", "base_model.model.module."),
        ("base_model.model.model.", "base_model.model."),
    ],
)
def test_of_two_experts_with_other_names_the_base_tells_which_is_odd(
    adapters: list[Adapter], tiny_base_folder: Path, old: str, new: str, place: int
) -> None:
    two = adapters[:2]
    two[place] = renamed(two[place], old, new)
    check_adapters(two)
    with pytest.raises(InputError, match=f"Adapter '{two[place].name}' .* which the base calls 'model.layers.0"):
        check_base(two, AutoModelForCausalLM.from_pretrained(tiny_base_folder))


def test_layers_outside_of_the_numbered_ones_are_no_other_names(adapters: list[Adapter]) -> None:
    head = {"base_model.model.lm_head.lora_A.weight": torch.ones(4, 32)}
    head["base_model.model.lm_head.lora_B.weight"] = torch.ones(320, 4)
    targets = [*adapters[1].config["target_modules"], "lm_head"]
    config = adapters[1].config | {"target_modules": targets}
    adapters[1] = replace(adapters[1], tensors=adapters[1].tensors | head, config=config)
    check_adapters(adapters)


TOKENS = torch.tensor([[1, 40, 50, 60, 70, 80]])
COPY = "base_model.model.lm_head.base_layer.weight"


@pytest.fixture(scope="module", params=["untied", "tied"])
def world(request: pytest.FixtureRequest, tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, with its head tied to its embedding or not, and two adapters of its head as PEFT saves them."""
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(tiny_base_folder, folder / "base")
    if request.param == "tied":
        from transformers import LlamaForCausalLM

        base = LlamaForCausalLM.from_pretrained(tiny_base_folder)
        base.config.tie_word_embeddings = True
        base.tie_weights()
        base.save_pretrained(folder / "base")
    for seed, name in enumerate(("anna", "bert"), start=1):
        save_adapter(folder / "base", folder / "experts" / name, seed, r=4, target_modules=["q_proj", "lm_head"])
        assert COPY in load_file(folder / "experts" / name / "adapter_model.safetensors")
    return folder


@pytest.fixture
def heads(world: Path, tmp_path: Path) -> Path:
    """A copy of the world that a test may break."""
    return Path(shutil.copytree(world, tmp_path / "world"))


@torch.no_grad()
def logits(model: torch.nn.Module) -> Tensor:
    return model(input_ids=TOKENS).logits


def plain(base: Path, adapter: Path) -> Tensor:
    return logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter)).eval())


def test_adapters_of_the_head_and_what_is_exported_of_them_give_the_logits_of_plain_peft(
    world: Path, tmp_path: Path
) -> None:
    pool = load_pool(str(world / "experts"))
    resident = pool.resident(load_base(str(world / "base"))[0], str(world / "base"))
    for index, name in enumerate(pool.names):
        resident.load(pool.vectors[index : index + 1])
        torch.testing.assert_close(logits(resident.model), plain(world / "base", world / "experts" / name))
    middle = pool.vectors.mean(0, keepdim=True)
    resident.load(middle)
    exported = export_adapter(tmp_path / "best", middle[0], pool, "card")
    torch.testing.assert_close(logits(resident.model), plain(world / "base", exported))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_copies_that_are_rounded_or_finer_than_the_base_are_the_bases(
    heads: Path, change_tensors: Callable[..., None], dtype: str
) -> None:
    change_tensors(heads / "experts" / "anna", lambda old: old | {COPY: old[COPY].to(getattr(torch, dtype))})
    for loaded in ("float32", dtype):
        load_pool(str(heads / "experts")).resident(load_base(str(heads / "base"), loaded)[0], str(heads / "base"))


@pytest.mark.parametrize("change", [lambda copy: copy + 0.01, lambda copy: torch.cat([copy, copy[:8]])])
def test_a_layer_that_was_trained_or_resized_is_refused_with_what_to_do(
    heads: Path, change_tensors: Callable[..., None], change: Callable[[Tensor], Tensor]
) -> None:
    change_tensors(heads / "experts" / "bert", lambda old: old | {COPY: change(old[COPY])})
    pool = load_pool(str(heads / "experts"))
    base = load_base(str(heads / "base"))[0]
    with pytest.raises(InputError, match=f"'bert' carries '{COPY}'.*'lm_head.weight'.*save_embedding_layers=False"):
        pool.resident(base, str(heads / "base"))


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"])
def test_any_whole_layer_that_is_the_bases_is_taken_and_an_unknown_one_refused(
    heads: Path, change_tensors: Callable[..., None], name: str
) -> None:
    base = load_base(str(heads / "base"))[0]
    copy = base.state_dict()[name].clone()
    change_tensors(heads / "experts" / "anna", lambda old: old | {f"base_model.model.{name}": copy})
    change_tensors(heads / "experts" / "bert", lambda old: old | {"base_model.model.other.weight": copy})
    pool = load_pool(str(heads / "experts"))
    with pytest.raises(InputError, match="'bert' carries 'base_model.model.other.weight'.*none"):
        pool.resident(base, str(heads / "base"))
