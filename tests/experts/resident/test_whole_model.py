"""The resident model as one particle after the other, against models that plain `transformers` has loaded."""

from pathlib import Path
from typing import Any

import pytest
import torch

from swarm_lightning.errors import InputError
from swarm_lightning.experts.checkpoint_pool import CheckpointPool, load_checkpoints
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.experts.resident.whole_model import WholeModel
from tests.full_models import ARCHITECTURES, NAMES, make_base, save_copies

TOKENS = torch.tensor([[5, 9, 200, 31, 7], [8, 8, 100, 40, 3]])


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def folder(request: pytest.FixtureRequest, tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_copies(
        make_base(tiny_base_folder, request.param), tiny_base_folder, tmp_path_factory.mktemp(request.param)
    )


@pytest.fixture(scope="module")
def pool(folder: Path) -> CheckpointPool:
    return load_checkpoints([str(folder / name) for name in NAMES])


def resident(pool: CheckpointPool, dtype: str = "auto") -> WholeModel:
    return pool.resident(load_base(pool.base, dtype)[0], pool.base)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_particle_gives_the_logits_of_from_pretrained_in_any_dtype_and_order(
    folder: Path, pool: CheckpointPool, dtype: str
) -> None:
    from transformers import AutoModelForCausalLM

    model = resident(pool, dtype)
    for index in (2, 0, 3, 1, 2):
        plain = AutoModelForCausalLM.from_pretrained(folder / NAMES[index], dtype=getattr(torch, dtype))
        model.load([pool.vector(index)])
        assert logits(model.model).equal(logits(plain))
        model.load(pool.vector(index)[:].unsqueeze(0))
        assert logits(model.model).equal(logits(plain))


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_the_plain_base_comes_back_bit_for_bit(pool: CheckpointPool, dtype: str) -> None:
    model = resident(pool, dtype)
    expected = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    for _ in range(2):
        model.load([pool.vector(1)])
        model.carried = "something"
        assert not all(tensor.equal(expected[name]) for name, tensor in model.model.state_dict().items())
        with model.base_only() as base:
            assert base is model.model
            assert model.carried is None
            assert all(tensor.equal(expected[name]) for name, tensor in base.state_dict().items())


def test_tied_weights_stay_tied(pool: CheckpointPool) -> None:
    model = resident(pool)
    model.load([pool.vector(3)])
    tied = model.model.get_output_embeddings().weight is model.model.get_input_embeddings().weight
    assert tied == bool(model.model.config.tie_word_embeddings)


def test_several_particles_at_once_and_other_sizes_are_refused(pool: CheckpointPool) -> None:
    model = resident(pool)
    for vectors in ([pool.vector(0), pool.vector(1)], [pool.vector(0)[:-1]]):
        with pytest.raises(ValueError, match="weights of one particle"):
            model.load(vectors)


def test_a_base_of_another_architecture_is_refused(folder: Path, pool: CheckpointPool, tiny_base_folder: Path) -> None:
    base = str(tiny_base_folder)  # a Llama with weights that are not tied
    with pytest.raises(InputError, match="one architecture|same config.json|same shapes"):
        pool.resident(load_base(base)[0], base)
