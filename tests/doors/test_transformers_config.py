from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from swarm_lightning.doors.transformers_config import (
    features_of,
    largest_of,
    looks_back_over_a_window,
    most_encoder_positions,
    most_positions,
    numbers_of,
    other_than_attention,
    positions_before_stretching,
    routes_tokens,
)
from tests.doors.contract import changed
from tests.doors.tiny_models import make

pytestmark = pytest.mark.smoke
DOOR = "transformers_config.py"


def config(**settings: Any) -> Any:
    return SimpleNamespace(**settings)


def test_a_number_may_be_one_for_every_layer() -> None:
    gemma = AutoConfig.for_model("gemma3n_text", intermediate_size=[64, 96], num_hidden_layers=2)
    assert numbers_of(gemma, "intermediate_size") == (64, 96), changed("transformers", "Gemma 3n's config", DOOR)
    assert largest_of(gemma, "intermediate_size") == 96
    assert largest_of(config(num_query_heads=(4, 8)), "num_attention_heads", "num_query_heads") == 8
    assert largest_of(config(num_experts=[0, 4, None]), "num_experts") == 4
    assert largest_of(config(num_experts=None), "num_experts") is None
    assert largest_of(config(), "num_experts") is None
    assert numbers_of(config(wide=True), "wide") == ()


@pytest.mark.parametrize("positions", [-1, 0, None])
def test_no_end_of_positions_is_no_limit(positions: int | None) -> None:
    assert most_positions(config(max_position_embeddings=positions)) is None


def test_the_number_of_positions_is_known_by_its_names() -> None:
    assert most_positions(AutoConfig.for_model("xlnet")) is None, changed("transformers", "XLNet's positions", DOOR)
    assert most_positions(AutoConfig.for_model("gpt2", n_positions=48)) == 48
    assert most_positions(AutoConfig.for_model("mpt", max_seq_len=40)) == 40
    assert most_positions(config(max_position_embeddings=[64, 32])) == 32


def test_stretched_positions_are_known_in_both_spellings() -> None:
    for name in ("rope_parameters", "rope_scaling"):
        for kind in ("rope_type", "type"):
            rope = {kind: "longrope", "original_max_position_embeddings": 16}
            assert positions_before_stretching(config(**{name: rope})) == 16
            assert positions_before_stretching(config(**{name: {"full_attention": rope}})) == 16
            assert positions_before_stretching(config(**{name: rope | {kind: "yarn"}})) is None
    settings = {"rope_type": "dynamic", "factor": 2.0}
    assert positions_before_stretching(config(rope_parameters=settings, original_max_position_embeddings=8)) == 8


def test_positions_of_an_encoder_that_counts_from_behind_its_padding() -> None:
    from transformers import RobertaConfig, RobertaForSequenceClassification

    settings = RobertaConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=20, pad_token_id=1,
    )  # fmt: skip
    model = RobertaForSequenceClassification(settings).eval()
    assert most_encoder_positions(model) == 18, changed("transformers", "RoBERTa's position_embeddings", DOOR)
    with torch.no_grad():
        model(input_ids=torch.full((1, 18), 5))


@pytest.mark.parametrize(
    ("family", "settings", "expected"),
    [
        ("mistral", {"sliding_window": 4}, True),
        ("mistral", {"sliding_window": None}, False),
        ("gpt_neo", {"num_layers": 2, "attention_types": [[["global", "local"], 1]]}, True),
        ("gpt_neo", {"num_layers": 2, "attention_types": [[["global"], 2]]}, False),
        ("llama", {}, False),
    ],
)
def test_windows_are_known(family: str, settings: dict[str, Any], expected: bool) -> None:
    found = looks_back_over_a_window(AutoConfig.for_model(family, **settings))
    assert found == expected, changed("transformers", f"how {family} names its windows", DOOR)


@pytest.mark.parametrize(
    ("family", "expected"), [("mixtral", True), ("qwen2_moe", True), ("deepseek_v3", True), ("llama", False)]
)
def test_models_that_route_tokens_are_known(family: str, expected: bool) -> None:
    found = routes_tokens(AutoConfig.for_model(family))
    assert found == expected, changed("transformers", f"how {family} names its number of experts", DOOR)


def test_a_layer_s_features_are_known_for_linear_layers_of_both_kinds() -> None:
    from transformers.pytorch_utils import Conv1D

    assert features_of(torch.nn.Linear(3, 5)) == (3, 5)
    assert features_of(Conv1D(5, 3)) == (3, 5), changed("transformers", "Conv1D", DOOR)
    assert features_of(torch.nn.Embedding(3, 5)) is None


def test_what_layers_keep_is_known() -> None:
    assert other_than_attention(make("llama")) == []
    assert other_than_attention(make("rwkv")) != [], changed("transformers", "how it marks models with a state", DOOR)
