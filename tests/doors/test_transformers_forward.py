"""Every argument has a home or is refused; the subclasses are real models of transformers with another signature."""

import re
from typing import Any

import pytest
import torch
import transformers

from swarm_lightning.doors.transformers_cache import growing_cache
from swarm_lightning.doors.transformers_forward import ForwardPass
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.engine.batches import Batch, lay_out
from tests.doors.tiny_models import make, renamed, rows

pytestmark = [pytest.mark.smoke, pytest.mark.filterwarnings("ignore")]
VERSION = re.escape(transformers.__version__)
CPU = torch.device("cpu")


def batch_of(sequences: list[list[int]]) -> Batch:
    return lay_out({0: list(range(len(sequences)))}, sequences, 0, 0, CPU)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "mpt", "granitemoe", "opt"])
def test_a_padded_row_is_told_its_next_tokens_as_it_is_alone(family: str) -> None:
    """With a cache and without; granitemoe has no `use_cache`, bloom and mpt no `position_ids`."""
    model = make(family)
    sequences = rows([9, 4, 6])
    batch, forward = batch_of([one[:-1] for one in sequences]), ForwardPass(model)
    with torch.inference_mode():
        alone = [model(torch.tensor([one])).logits[0] for one in sequences]
        cache = growing_cache()
        for kept in (None, cache):
            found = forward(batch.tokens, batch.mask, batch.positions, kept)
            torch.testing.assert_close(found, torch.stack([one[-2] for one in alone]), rtol=1e-4, atol=1e-4)
        mask = torch.cat([batch.mask, torch.ones(3, 1, dtype=torch.long)], dim=1)
        last = torch.tensor([[one[-1]] for one in sequences])
        found = forward(last, mask, torch.tensor([[len(one) - 1] for one in sequences]), cache)
    torch.testing.assert_close(found, torch.stack([one[-1] for one in alone]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize(
    ("argument", "name"), [("attention_mask", "mask"), ("attention_mask", "attn_mask"), ("input_ids", "tokens")]
)
def test_a_renamed_mask_is_refused_by_name(family: str, argument: str, name: str) -> None:
    message = rf"takes '{argument}', but forward of Renamed.* transformers {VERSION}.*{name}"
    with pytest.raises(InputError, match=message):
        ForwardPass(renamed(family, argument, name))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_renamed_positions_are_refused_though_rotary_ones_are_relative(family: str) -> None:
    """What a row says does not change with Llama's padding, but columns that leave its cache change it."""
    with pytest.raises(InputError, match=rf"takes 'position_ids'.*of Renamed.* transformers {VERSION}, and padding"):
        ForwardPass(renamed(family, "position_ids", "positions"))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_renamed_cache_is_refused_where_it_is_needed(family: str) -> None:
    forward, batch = ForwardPass(renamed(family, "cache", "memory")), batch_of(rows([4, 3]))
    assert forward(batch.tokens, batch.mask, batch.positions).shape == (2, 64)
    with pytest.raises(InputError, match=rf"'cache' or 'past_key_values', but forward of Renamed.* {VERSION}.*memory"):
        forward(batch.tokens, batch.mask, batch.positions, growing_cache())


@pytest.mark.parametrize(("argument", "name"), [("logits_to_keep", "num_logits_to_keep"), ("use_cache", "caching")])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_rename_that_only_costs_work_changes_nothing(family: str, argument: str, name: str) -> None:
    model, batch = renamed(family, argument, name), batch_of(rows([5, 3]))
    plain, forward = ForwardPass(make(family)), ForwardPass(model)
    with torch.inference_mode():
        expected = plain(batch.tokens, batch.mask, batch.positions)
        for cache in (None, growing_cache()):
            assert torch.equal(forward(batch.tokens, batch.mask, batch.positions, cache), expected)


@pytest.mark.parametrize("family", ["bart", "roformer"])
def test_positions_by_column_without_a_way_to_tell_them_are_refused(family: str) -> None:
    with pytest.raises(InputError, match=rf"position_ids.* transformers {VERSION}, and padding on the left changes"):
        ForwardPass(make(family))


def test_a_model_with_a_state_is_refused() -> None:
    with pytest.raises(InputError, match="RwkvForCausalLM has layers of the kind state"):
        ForwardPass(make("rwkv"))


class Wrapper(torch.nn.Module):
    """Hands everything on, as wrappers of several libraries do."""

    def __init__(self, model: Any, only: tuple[str, ...] | None = None) -> None:
        super().__init__()
        self.model, self.config, self.device, self.dtype = model, model.config, model.device, model.dtype
        self.only = only
        self.seen: list[set[str]] = []

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.seen.append(set(kwargs))
        kept = {name: value for name, value in kwargs.items() if self.only is None or name in self.only}
        return self.model(*args, **kept)


class Named(Wrapper):
    """Names one argument only; where the others go, nobody can tell."""

    def forward(self, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        return self.model(input_ids=input_ids)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_wrapper_that_hands_all_on_is_given_all(family: str) -> None:
    wrapper, batch = Wrapper(make(family)), batch_of(rows([5, 3]))
    forward, plain = ForwardPass(wrapper), ForwardPass(wrapper.model)  # type: ignore[arg-type]
    with torch.inference_mode():
        expected = plain(batch.tokens, batch.mask, batch.positions)
        torch.testing.assert_close(forward(batch.tokens, batch.mask, batch.positions, growing_cache()), expected)
    assert {"input_ids", "attention_mask", "position_ids", "use_cache"} < wrapper.seen[-1]
    assert wrapper.seen[-1] & {"cache", "past_key_values"}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_wrapper_that_loses_the_mask_is_refused(family: str) -> None:
    with pytest.raises(InputError, match="padding on the left changes its logits"):
        ForwardPass(Wrapper(make(family), only=("input_ids",)))  # type: ignore[arg-type]


def test_keyword_arguments_beside_names_are_no_home() -> None:
    with pytest.raises(InputError, match="takes 'attention_mask', but forward of Named has no such argument"):
        ForwardPass(Named(make("llama")))  # type: ignore[arg-type]


def test_a_model_without_a_cache_is_refused_where_one_is_needed() -> None:
    batch = batch_of(rows([5, 3]))
    forward = ForwardPass(make("xlnet"))
    with pytest.raises(InputError, match="'cache' or 'past_key_values', but forward of XLNetLMHeadModel has no such"):
        forward(batch.tokens, batch.mask, batch.positions, growing_cache())


def test_a_model_that_keeps_something_else_than_keys_and_values_is_refused() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "qwen3_next",
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_experts=2,
        layer_types=["linear_attention", "full_attention"],
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(InputError, match="layers of the kind linear_attention. Use another base model"):
        ForwardPass(model)
