"""Sums of products that are cut to a rank when they are exported: against NumPy, and scored by plain PEFT."""

import json
import re
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import load_file

from swarm_lightning.callbacks import ExportBest, SwarmCheckpoint
from swarm_lightning.errors import InputError
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.search import ModelSwarm
from tests.search.tiny_search import World, load_checkpoint, run_swarm, search

OF_PRODUCTS: dict[str, Any] = {"coefficients": "module", "draws": "coefficient"}
RANK = 2
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def searched(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSwarm, Path]:
    root = tmp_path_factory.mktemp("cut")
    callbacks = [SwarmCheckpoint(), ExportBest(export_rank=RANK)]
    return search(world, root, callbacks=callbacks, particles=6, **OF_PRODUCTS), root


def dense_products(module: ModelSwarm) -> dict[str, numpy.ndarray]:
    """What the found coefficients add to every layer, as the dense sum of what each adapter adds."""
    pool, space = module.pool, module.particle_swarm.space
    table = space.coefficients(module.particle_swarm.found).double().numpy()
    groups = list(space.material.groups)
    sums: dict[str, numpy.ndarray] = {}
    assert isinstance(pool, ExpertPool)
    for place, adapter in enumerate(pool.adapters()):
        scale = adapter.config["lora_alpha"] / adapter.config["r"]
        for name, down in adapter.tensors.items():
            if ".lora_A." not in name:
                continue
            up = adapter.tensors[name.replace(".lora_A.", ".lora_B.")]
            layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            added = scale * up.double().numpy() @ down.double().numpy() * table[place, groups.index(layer)]
            sums[layer] = sums.get(layer, 0.0) + added
    return sums


def test_a_cut_adapter_is_the_closest_of_its_rank_and_the_card_says_how_close(
    searched: tuple[ModelSwarm, Path],
) -> None:
    module, root = searched
    tensors = load_file(root / "best_expert" / WEIGHTS)
    config = json.loads((root / "best_expert" / "adapter_config.json").read_text())
    card = (root / "best_expert" / "README.md").read_text()
    said = dict(re.findall(r"^\| (\S+) \| (\d\.\d{4}) \|$", card.split("## Rank")[1], flags=re.MULTILINE))
    sums, errors = dense_products(module), []
    assert set(sums) == {layer.replace("\\", "") for layer in said}
    for layer, dense in sums.items():
        down, up = (tensors[f"base_model.model.{layer}.lora_{part}.weight"].double().numpy() for part in "AB")
        assert len(down) <= RANK
        left, singular, right = numpy.linalg.svd(dense, full_matrices=False)
        closest = left[:, :RANK] * singular[:RANK] @ right[:RANK]
        numpy.testing.assert_allclose(up @ down, closest, atol=1e-5 * singular[0])
        error = numpy.sqrt((singular[RANK:] ** 2).sum() / (singular**2).sum())
        errors.append(error)
        spelled = next(value for name, value in said.items() if name.replace("\\", "") == layer)
        assert float(spelled) == pytest.approx(error, abs=6e-5)
    assert max(errors) > 0.05, "nothing was cut off"
    assert config["lora_alpha"] == config["r"]


def test_plain_peft_computes_with_it_what_a_base_with_dense_products_does(
    world: World, searched: tuple[ModelSwarm, Path]
) -> None:
    from transformers import AutoModelForCausalLM

    module, root = searched
    tokens = world.tokenizer("Question: What is 3 plus 1?", return_tensors="pt")["input_ids"]
    base = AutoModelForCausalLM.from_pretrained(world.base).eval()
    for layer, dense in dense_products(module).items():
        left, singular, right = numpy.linalg.svd(dense, full_matrices=False)
        closest = torch.from_numpy(left[:, :RANK] * singular[:RANK] @ right[:RANK])
        base.get_submodule(layer).weight.data += closest.float()
    with torch.no_grad():
        expected = base(tokens).logits
        found = world.load(root / "best_expert")(tokens).logits
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_card_gives_its_utility_on_validation(world: World, searched: tuple[ModelSwarm, Path]) -> None:
    _, root = searched
    scores = world.score(world.replies(world.load(root / "best_expert"), "dev"), "dev")
    card = (root / "best_expert" / "README.md").read_text()
    assert f"On validation the adapter of this rank has {sum(scores) / len(scores):.4f}." in card


@pytest.mark.parametrize("setting", ["--export_rank", "--export_best.export_rank"])
def test_the_command_cuts_as_the_callback_does(
    world: World, searched: tuple[ModelSwarm, Path], tmp_path: Path, setting: str
) -> None:
    module, root = searched
    assert load_checkpoint(root)
    config = world.config(tmp_path, model={"particles": 6, **OF_PRODUCTS})
    last = ("--ckpt_path", str(root), "--output", str(tmp_path / "cut"))
    printed = run_swarm(config, "export", tmp_path, *last, setting, str(RANK))
    cut, other = load_file(tmp_path / "cut" / WEIGHTS), load_file(root / "best_expert" / WEIGHTS)
    assert all(cut[name].equal(tensor) for name, tensor in other.items())
    cards = [(folder / "README.md").read_text() for folder in (tmp_path / "cut", root / "best_expert")]
    told = [re.findall(r"On validation the adapter of this rank has (\d\.\d{4})\.", card) for card in cards]
    assert told[0] == told[1] != []
    whole = module.result().validation[1].utility
    assert f"Cut to rank {RANK}: utility on validation {whole:.4f} before, {told[0][0]} after." in printed


@pytest.mark.parametrize(
    ("settings", "rank", "said"),
    [({}, 2, "only where adapters' products are searched"), (OF_PRODUCTS, 0, "1 or more, but got 0")],
)
def test_a_rank_that_nothing_can_be_cut_to_is_refused_before_the_search(
    world: World, tmp_path: Path, settings: dict[str, Any], rank: int, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        search(world, tmp_path, callbacks=[ExportBest(export_rank=rank)], **settings)
