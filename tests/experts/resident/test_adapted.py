from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from swarm_lightning.errors import InputError
from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.experts.resident.stacked_linear import StackedLinear

TOKENS = torch.tensor([[1, 40, 50, 60, 70, 80], [1, 41, 300, 7, 9, 11]])


@torch.no_grad()
def logits(model: torch.nn.Module) -> Tensor:
    return model(input_ids=TOKENS).logits


def reference(base_folder: Path, adapter: Path, dtype: str = "float32") -> Tensor:
    """The logits that plain PEFT gives."""
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=getattr(torch, dtype))
    return logits(PeftModel.from_pretrained(base, str(adapter)).eval())


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Equal up to rounding: one batched product adds in another order, and half precision rounds after every layer."""
    assert found.dtype == expected.dtype
    atol = {torch.float32: 1e-5, torch.float16: 0.01, torch.bfloat16: 0.08}[found.dtype]  # of logits up to 5
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_expert_gives_the_logits_of_plain_peft_in_any_order(
    tiny_base_folder: Path, tiny_experts_folder: Path, pool: ExpertPool, dtype: str
) -> None:
    expected = [reference(tiny_base_folder, tiny_experts_folder / name, dtype) for name in pool.names]
    adapted = AdaptedModel(load_base(str(tiny_base_folder), dtype)[0], pool)
    for index in (0, 1, 0, 3, 2, 1, 0):
        adapted.load(pool.vectors[index])
        assert_same(logits(adapted.model), expected[index])
    assert len({tuple(each.flatten().tolist()) for each in expected}) == 4


@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {"alpha_pattern": {"q_proj": 32, "layers.1.mlp.up_proj": 1}},
        {"target_modules": r".*\.(q_proj|v_proj|gate_proj|up_proj|down_proj)"},
        {"init_lora_weights": "gaussian", "lora_dropout": 0.9},
    ],
)
def test_settings_that_all_experts_share_act_as_in_plain_peft(
    tiny_base_folder: Path, experts: Path, change_config: Callable[..., None], settings: dict[str, object]
) -> None:
    for folder in experts.iterdir():
        change_config(folder, **settings)
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], load_pool(str(experts)))
    assert_same(logits(adapted.model), reference(tiny_base_folder, experts / "colours"))


def test_half_precision_files_give_the_logits_of_plain_peft(
    tiny_base_folder: Path, experts: Path, change_tensors: Callable[..., None]
) -> None:
    for folder in experts.iterdir():
        change_tensors(folder, lambda tensors: {name: tensor.bfloat16() for name, tensor in tensors.items()})
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], load_pool(str(experts)))
    assert_same(logits(adapted.model), reference(tiny_base_folder, experts / "colours"))


def test_a_layer_with_transposed_weights_gives_the_logits_of_plain_peft(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    config = GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "base")
    for name in ("one", "two"):
        base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        settings = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
        get_peft_model(base, settings).save_pretrained(str(tmp_path / "experts" / name))
    pool = load_pool(str(tmp_path / "experts"))
    adapted = AdaptedModel(AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval(), pool)
    for vector, name in zip(pool.vectors, pool.names, strict=True):
        adapted.load(vector)
        assert_same(logits(adapted.model), reference(tmp_path / "base", tmp_path / "experts" / name))


@pytest.mark.shared
def test_experts_of_a_real_model_give_the_logits_of_plain_peft(shared_folder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base_folder = shared_folder / "models" / "stories260k"
    for name in ("one", "two"):
        base = AutoModelForCausalLM.from_pretrained(base_folder)
        settings = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
        get_peft_model(base, settings).save_pretrained(str(tmp_path / name))
    adapted = AdaptedModel(load_base(str(base_folder))[0], pool := load_pool(str(tmp_path)))
    for vector, name in zip(pool.vectors, pool.names, strict=True):
        adapted.load(vector)
        assert_same(logits(adapted.model), reference(base_folder, tmp_path / name))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_all_experts_at_once_give_the_logits_that_each_has_alone(
    tiny_base_folder: Path, tiny_experts_folder: Path, pool: ExpertPool, dtype: str
) -> None:
    adapted = AdaptedModel(load_base(str(tiny_base_folder), dtype)[0], pool)
    adapted.load(pool.vectors)
    adapted.batch.rows, adapted.batch.tokens = 8, TOKENS.shape[1]
    with torch.no_grad():
        found = adapted.model(input_ids=TOKENS.repeat(4, 1)).logits
    for rows, name in zip(found.chunk(4), pool.names, strict=True):
        assert_same(rows, reference(tiny_base_folder, tiny_experts_folder / name, dtype))


def test_the_base_s_weights_stay_where_they_are(tiny_base_folder: Path, pool: ExpertPool) -> None:
    base = load_base(str(tiny_base_folder))[0]
    places = {name: parameter.data_ptr() for name, parameter in base.named_parameters()}
    adapted = AdaptedModel(base, pool)
    assert adapted.model is base
    adapted.load(pool.vectors)
    live = {name: parameter.data_ptr() for name, parameter in base.named_parameters()}
    assert {name.replace(".base_layer", ""): place for name, place in live.items()} == places


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_particles_are_carried_by_reference(tiny_base_folder: Path, pool: ExpertPool, dtype: str) -> None:
    """Nothing is copied, because LoRA weights are float32 even on a bfloat16 base; the vectors are only read."""
    adapted = AdaptedModel(load_base(str(tiny_base_folder), dtype)[0], pool)
    layers = [module for module in adapted.model.modules() if isinstance(module, StackedLinear)]
    assert len(layers) == 10
    vectors = pool.vectors.clone()
    first, behind = vectors.data_ptr(), vectors.data_ptr() + vectors.nbytes
    for given in (vectors, vectors[1:3], vectors[2]):
        adapted.load(given)
        for layer in layers:
            for matrices in (layer.down, layer.up):
                assert matrices is not None
                assert first <= matrices.data_ptr() < behind
                assert matrices.shape[0] == (1 if given.dim() == 1 else len(given))
    assert torch.equal(vectors, pool.vectors)
    before = logits(adapted.model)
    vectors[2] = vectors[3]
    assert not torch.equal(logits(adapted.model), before)


def test_on_a_double_precision_base_particles_are_doubles(tiny_base_folder: Path, pool: ExpertPool) -> None:
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0].double(), pool)
    assert {layer.dtype for layer in adapted.model.modules() if isinstance(layer, StackedLinear)} == {torch.float64}
    assert logits(adapted.model).dtype == torch.float64


def test_without_its_adapter_the_model_is_the_plain_base(tiny_base_folder: Path, pool: ExpertPool) -> None:
    plain = logits(load_base(str(tiny_base_folder))[0])
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], pool)
    before = logits(adapted.model)
    with adapted.base_only() as base:
        assert torch.equal(logits(base), plain)
    assert torch.equal(logits(adapted.model), before)
    assert not torch.equal(before, plain)


def test_nothing_needs_a_gradient_and_dropout_is_off(tiny_base_folder: Path, pool: ExpertPool) -> None:
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], pool)
    with adapted.base_only():
        pass
    assert not any(parameter.requires_grad for parameter in adapted.model.parameters())
    assert not any(module.training for module in adapted.model.modules())
    adapted.model.train()  # as Lightning does: even then there is no dropout to switch on
    assert torch.equal(logits(adapted.model), logits(adapted.model.eval()))


def test_the_run_s_random_numbers_are_not_used_up(tiny_base_folder: Path, pool: ExpertPool) -> None:
    base = load_base(str(tiny_base_folder))[0]
    state = torch.get_rng_state()
    AdaptedModel(base, pool)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_made_in_inference_mode_can_be_loaded_outside_of_it(tiny_base_folder: Path, pool: ExpertPool) -> None:
    base = load_base(str(tiny_base_folder))[0]
    with torch.inference_mode():
        adapted = AdaptedModel(base, pool)
        adapted.load(pool.vectors[1])
    adapted.load(pool.vectors[0])
    with torch.inference_mode(), adapted.base_only():
        adapted.load(pool.vectors[1])
    assert not any(parameter.requires_grad for parameter in adapted.model.parameters())


def test_the_config_is_not_changed(tiny_base_folder: Path, tiny_experts_folder: Path, pool: ExpertPool) -> None:
    AdaptedModel(load_base(str(tiny_base_folder))[0], pool)
    assert pool.config == load_pool(str(tiny_experts_folder)).config


@pytest.mark.parametrize("shape", [(3199,), (2, 3199), (0, 3200), (1, 2, 3200)])
def test_vectors_of_another_shape_are_refused(tiny_base_folder: Path, pool: ExpertPool, shape: tuple[int, ...]) -> None:
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], pool)
    with pytest.raises(ValueError, match=rf"\[P, 3200\], but got shape \[.*{shape[-1]}\]"):
        adapted.load(torch.zeros(shape))


def test_without_particles_the_model_is_the_plain_base_until_the_next_load(
    tiny_base_folder: Path, pool: ExpertPool
) -> None:
    plain = logits(load_base(str(tiny_base_folder))[0])
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], pool)
    before = logits(adapted.model)
    adapted.load(pool.vectors)
    adapted.unload()
    layers = [module for module in adapted.model.modules() if isinstance(module, StackedLinear)]
    assert {(layer.down, layer.up) for layer in layers} == {(None, None)}, "nothing should stay in memory"
    assert torch.equal(logits(adapted.model), plain)
    adapted.load(pool.vectors[:1])
    assert torch.equal(logits(adapted.model), before)


def test_all_particles_are_carried_again_after_the_plain_base(tiny_base_folder: Path, pool: ExpertPool) -> None:
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], pool)
    adapted.load(pool.vectors[1:3])
    adapted.batch.rows, adapted.batch.tokens = TOKENS.shape
    before = logits(adapted.model)
    with pytest.raises(KeyError), adapted.base_only():
        raise KeyError
    assert torch.equal(logits(adapted.model), before)


def test_a_base_that_has_adapters_already_is_refused(tiny_base_folder: Path, pool: ExpertPool) -> None:
    base = load_base(str(tiny_base_folder))[0]
    AdaptedModel(base, pool)
    with pytest.raises(ValueError, match="without adapters"):
        AdaptedModel(base, pool)


def test_experts_of_another_base_are_refused(tmp_path: Path, pool: ExpertPool) -> None:
    other = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_embd=32, n_layer=1, n_head=2))
    with pytest.raises(InputError, match="'colours' carries 'model.layers.0.*the base has no such module"):
        AdaptedModel(other, pool)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["q_proj"], "that leaves out 'model.layers.0.mlp.down_proj"),
        (None, "the config leaves out 'base_model.model.model.layers.0.mlp.down_proj"),  # Llama's are q_proj and v_proj
        (["q_proj", "v_proj", "gate_proj", "up_proj", "down_proj", "k_proj"], "the files lack .*k_proj"),
        (["query"], "that leaves out 'model.layers.0.mlp.down_proj"),
    ],
)
def test_a_config_that_adapts_other_layers_than_the_files_hold_is_refused(
    tiny_base_folder: Path, experts: Path, change_config: Callable[..., None], targets: list[str] | None, message: str
) -> None:
    for folder in experts.iterdir():
        change_config(folder, target_modules=targets)
    with pytest.raises(InputError, match=message):
        AdaptedModel(load_base(str(tiny_base_folder))[0], load_pool(str(experts)))
