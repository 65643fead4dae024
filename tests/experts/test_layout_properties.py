"""Tensors become a vector and come back, whatever their names and shapes; files of any bytes are read or refused."""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import Adapter, read_adapter
from swarm_lightning.experts.checks import check_adapters
from swarm_lightning.experts.common_form import common_form
from swarm_lightning.experts.layout import Layout

SHAPES = st.dictionaries(
    st.text(min_size=1, max_size=6), st.lists(st.integers(1, 4), max_size=3), min_size=1, max_size=5
)


@given(SHAPES, st.integers(0, 99))
def test_a_vector_gives_back_the_tensors_it_was_made_of(shapes: dict[str, list[int]], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    layout = Layout.of(tensors)
    vector = layout.flatten(tensors)
    assert vector.shape == (layout.size,) == (sum(tensor.numel() for tensor in tensors.values()),)
    assert all(torch.equal(part, tensors[name]) for name, part in layout.unflatten(vector).items())
    assert torch.equal(vector, Layout.of(dict(reversed(tensors.items()))).flatten(tensors))
    assert all(torch.equal(part[1], tensors[name]) for name, part in layout.unstack(vector.repeat(2, 1)).items())


LORA = st.fixed_dictionaries(
    {
        "layers": st.sets(st.sampled_from(["q", "k", "up"]), min_size=1),
        "rank": st.integers(1, 4),
        "alpha": st.floats(-8, 8).filter(lambda alpha: abs(alpha) > 0.01) | st.just(0),
        "rslora": st.booleans(),
        "pattern": st.dictionaries(st.sampled_from(["q", "k"]), st.integers(1, 4), max_size=2),
    }
)


def products(tensors: Any, config: dict[str, Any]) -> dict[str, Tensor]:
    """The matrix that each layer gets, by PEFT's definition: alpha / rank, or alpha / sqrt(rank), times B A."""
    found = {}
    for layer in ("q", "k", "up"):
        name = f"base_model.model.{layer}.lora_{{}}.weight"
        if name.format("A") in tensors:
            down, up = (tensors[name.format(part)].double() for part in "AB")
            alpha = next(
                (value for key, value in config["alpha_pattern"].items() if layer in key), config["lora_alpha"]
            )
            rank = len(down)
            found[layer] = alpha / (rank**0.5 if config["use_rslora"] else rank) * (up @ down)
    return found


@given(st.lists(LORA, min_size=2, max_size=4), st.integers(0, 99))
def test_any_mixture_of_ranks_scalings_and_targets_keeps_the_products_of_every_layer(
    loras: list[dict[str, Any]], seed: int
) -> None:
    draw, adapters = torch.Generator().manual_seed(seed), []
    for place, lora in enumerate(loras):
        tensors = {}
        for layer in lora["layers"]:
            rank = lora["pattern"].get(layer, lora["rank"])
            tensors[f"base_model.model.{layer}.lora_A.weight"] = torch.randn(rank, 3, generator=draw)
            tensors[f"base_model.model.{layer}.lora_B.weight"] = torch.randn(5, rank, generator=draw)
        config = {"peft_type": "LORA", "target_modules": sorted(lora["layers"]), "r": lora["rank"], "alpha_pattern": {}}
        config |= {"lora_alpha": lora["alpha"], "use_rslora": lora["rslora"], "rank_pattern": lora["pattern"]}
        adapters.append(Adapter(str(place), "", config, tensors))
    check_adapters(adapters)
    form = common_form(adapters)
    for adapter in adapters:
        expected = products(adapter.tensors, adapter.config)
        row = form.layout.unflatten(form.layout.flatten(form.tensors(adapter)))
        for layer, product in products(row, form.config).items():
            torch.testing.assert_close(product, expected.get(layer, torch.zeros(5, 3).double()), rtol=1e-5, atol=1e-5)


@given(st.binary(max_size=120), st.binary(max_size=120))
def test_files_of_any_bytes_are_an_adapter_or_refused(config: bytes, weights: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(InputError):
        (Path(folder) / "adapter_config.json").write_bytes(config)
        (Path(folder) / "adapter_model.safetensors").write_bytes(weights)
        check_adapters([read_adapter(folder)])


SETTINGS = [
    "r",
    "lora_alpha",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "bias",
]
SETTINGS += ["layers_to_transform", "layers_pattern", "use_dora", "task_type", "init_lora_weights", "modules_to_save"]
PLAIN = st.none() | st.booleans() | st.integers(-2, 5) | st.floats() | st.text(max_size=4)
VALUES = PLAIN | st.lists(PLAIN, max_size=2) | st.dictionaries(st.text(max_size=3), PLAIN, max_size=2)


@given(st.dictionaries(st.sampled_from(SETTINGS), VALUES, max_size=4))
def test_any_settings_are_carried_or_refused(settings: dict[str, Any]) -> None:
    config = json.loads(json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["q"], **settings}))
    name = "base_model.model.q.lora_{}.weight"
    tensors = {name.format("A"): torch.ones(2, 3), name.format("B"): torch.ones(5, 2)}
    with contextlib.suppress(InputError):
        adapters = [Adapter(one, "", {**config}, tensors) for one in "ab"]
        check_adapters(adapters)
        common_form(adapters)
