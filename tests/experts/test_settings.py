import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import Adapter, read_adapter
from swarm_lightning.experts.settings import IGNORED, REFUSED, SCALING, SPELLING, check_adapter_settings, lora_config


@pytest.fixture
def adapters(tiny_experts_folder: Path) -> list[Adapter]:
    return [read_adapter(str(folder)) for folder in sorted(tiny_experts_folder.iterdir())]


@pytest.fixture
def with_settings(adapters: list[Adapter]) -> Callable[..., list[Adapter]]:
    """The four experts; the third, or each, with some settings changed."""

    def build(everywhere: bool = False, **settings: Any) -> list[Adapter]:
        return [
            replace(adapter, config=adapter.config | settings) if everywhere or adapter.name == "stories" else adapter
            for adapter in adapters
        ]

    return build


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("use_dora", True),
        ("bias", "all"),
        ("bias", "lora_only"),
        ("lora_bias", True),
        ("modules_to_save", ["lm_head"]),
        ("layer_replication", [[0, 2], [1, 2]]),
        ("trainable_token_indices", [1, 2]),
        ("target_parameters", ["mlp.experts.gate_up_proj"]),
        ("alora_invocation_tokens", [5]),
        ("use_qalora", True),
        ("use_bdlora", {"nblocks": 2}),
        ("arrow_config", {"top_k": 2}),
        ("kasa_config", {"beta": 1}),
        ("velora_config", {"num_groups": 2}),
        ("monteclora_config", {"num_samples": 2}),
        ("megatron_config", {"tensor_parallel": 2}),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "pissa_niter_4"),
        ("init_lora_weights", "olora"),
        ("init_lora_weights", "loftq"),
        ("init_lora_weights", "corda"),
        ("init_lora_weights", "lora_ga"),
        ("task_type", "SEQ_CLS"),
        ("peft_type", "IA3"),
        ("peft_type", None),
    ],
)
def test_what_plain_matrices_cannot_carry_is_refused_even_if_all_share_it(
    with_settings: Callable[..., list[Adapter]], setting: str, value: object
) -> None:
    for everywhere, name in ((False, "stories"), (True, "colours")):
        with pytest.raises(InputError, match=f"'{name}' has {setting if setting != 'peft_type' else ''}"):
            check_adapter_settings(with_settings(everywhere, **{setting: value}))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("inference_mode", False),
        ("revision", "main"),
        ("peft_version", "0.5.0"),
        ("lora_dropout", 0.5),
        ("init_lora_weights", "gaussian"),
        ("init_lora_weights", "eva"),
        ("task_type", None),
        ("auto_mapping", {"base_model_class": "LlamaForCausalLM", "parent_library": "transformers"}),
        ("target_modules", ".*_proj"),
        ("lora_alpha", 8.0),
        ("rank_pattern", None),
        ("r", 8),
        ("lora_alpha", 16),
        ("use_rslora", True),
        ("rank_pattern", {"q_proj": 2}),
        ("alpha_pattern", {"q_proj": 2}),
        ("modules_to_save", []),
    ],
)
def test_what_does_not_change_a_reply_and_what_says_ranks_and_scalings_may_differ(
    with_settings: Callable[..., list[Adapter]], setting: str, value: object
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_adapter_settings(with_settings(**{setting: value}))


def test_different_bases_are_a_warning(with_settings: Callable[..., list[Adapter]]) -> None:
    with pytest.warns(UserWarning, match="different base models .*'stories': '/elsewhere/base'"):
        check_adapter_settings(with_settings(base_model_name_or_path="/elsewhere/base"))


def test_a_key_that_no_peft_knows_is_a_warning(with_settings: Callable[..., list[Adapter]]) -> None:
    with pytest.warns(UserWarning, match="'stories' has settings.*my_note"):
        check_adapter_settings(with_settings(my_note="trained on a Sunday"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("r", 0),
        ("r", "8"),
        ("r", 4.5),
        ("lora_alpha", "8"),
        ("lora_alpha", float("nan")),
        ("rank_pattern", [1]),
        ("rank_pattern", {"q_proj": 0}),
        ("rank_pattern", {"*": 2}),
        ("alpha_pattern", {"q_proj": "much"}),
    ],
)
def test_values_of_the_wrong_kind_are_refused(
    with_settings: Callable[..., list[Adapter]], setting: str, value: object
) -> None:
    with pytest.raises(InputError, match=f"Expected .*{setting}.*'stories'"):
        check_adapter_settings(with_settings(**{setting: value}))


def test_every_setting_of_the_installed_peft_is_judged() -> None:
    from dataclasses import fields

    from peft import LoraConfig

    judged = SCALING.keys() | SPELLING | IGNORED | REFUSED.keys()
    assert {field.name for field in fields(LoraConfig)} <= judged


def test_the_live_config_has_no_dropout_and_no_special_start(adapters: list[Adapter]) -> None:
    config = lora_config(adapters[0].config | {"init_lora_weights": "eva", "my_note": "x"})
    assert (config.lora_dropout, config.init_lora_weights, config.inference_mode) == (0.0, True, True)
    assert (config.r, config.lora_alpha) == (4, 8)
