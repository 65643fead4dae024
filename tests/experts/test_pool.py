import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from swarm_lightning.errors import InputError
from swarm_lightning.experts.pool import load_pool


def test_rows_are_the_experts_weights_in_the_order_of_their_names(tiny_experts_folder: Path) -> None:
    pool = load_pool(str(tiny_experts_folder))
    assert pool.names == ("colours", "numbers", "stories", "towns")
    # Per layer: q 4*(32+32), v 4*(32+16), gate and up 4*(32+64) each, down 4*(64+32) = 256 + 192 + 384 * 3 = 1600.
    assert pool.vectors.shape == (4, 2 * 1600)
    assert pool.vectors.dtype == torch.float32
    for row, name in zip(pool.vectors, pool.names, strict=True):
        tensors = load_file(tiny_experts_folder / name / "adapter_model.safetensors")
        assert torch.equal(row, torch.cat([tensors[key].flatten() for key in sorted(tensors)]))


def test_experts_that_answer_as_the_base_are_named(experts: Path) -> None:
    for name in ("numbers", "towns"):
        path = experts / name / "adapter_model.safetensors"
        weights = load_file(path)
        zeroed = {key: value if "lora_A" in key and name == "towns" else value * 0 for key, value in weights.items()}
        save_file(zeroed, path)
    with pytest.warns(UserWarning, match="answer exactly like the base, .*: numbers, towns. They are used"):
        assert load_pool(str(experts)).names == ("colours", "numbers", "stories", "towns")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_experts_become_float32_exactly(
    experts: Path, change_tensors: Callable[..., None], dtype: torch.dtype
) -> None:
    for folder in experts.iterdir():
        change_tensors(folder, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    pool = load_pool(str(experts))
    assert pool.vectors.dtype == torch.float32
    tensors = load_file(experts / "towns" / "adapter_model.safetensors")
    assert all(torch.equal(part, tensors[name]) for name, part in pool.layout.unflatten(pool.vectors[3]).items())


def test_the_fingerprint_follows_names_weights_and_scaling_but_not_the_place(
    experts: Path, change_tensors: Callable[..., None], change_config: Callable[..., None]
) -> None:
    first = load_pool(str(experts)).fingerprint
    moved = experts.rename(experts.parent / "moved")
    assert load_pool(str(moved)).fingerprint == first
    (moved / "towns").rename(moved / "villages")
    renamed = load_pool(str(moved)).fingerprint
    (moved / "villages").rename(moved / "towns")
    for folder in moved.iterdir():
        change_config(folder, lora_alpha=16)
    rescaled = load_pool(str(moved)).fingerprint
    for folder in moved.iterdir():
        change_config(folder, lora_alpha=8)
    change_tensors(moved / "towns", lambda tensors: {name: tensor + 1 for name, tensor in tensors.items()})
    changed = load_pool(str(moved)).fingerprint
    assert len({first, renamed, rescaled, changed}) == 4


def test_equal_folder_names_are_told_apart_by_their_parents(experts: Path, tmp_path: Path) -> None:
    shutil.copytree(experts / "towns", tmp_path / "more" / "towns")
    pool = load_pool([str(experts), str(tmp_path / "more")])
    assert pool.names == ("colours", "numbers", "stories", "experts/towns", "more/towns")


def test_one_expert_given_twice_is_refused(experts: Path) -> None:
    with pytest.raises(InputError, match="towns' is given 2 times"):
        load_pool([str(experts), str(experts / "numbers" / ".." / "towns")])


def test_a_single_expert_is_refused(experts: Path) -> None:
    with pytest.raises(InputError, match="at least two experts, but found 1"):
        load_pool(str(experts / "towns"))


def test_experts_that_do_not_fit_each_other_are_refused(experts: Path, change_config: Callable[..., None]) -> None:
    change_config(experts / "towns", use_dora=True)
    with pytest.raises(InputError, match="'towns' has use_dora"):
        load_pool(str(experts))


def test_the_pool_gives_its_adapters_back_as_views(tiny_experts_folder: Path) -> None:
    pool = load_pool(str(tiny_experts_folder))
    adapter = pool.adapters()[2]
    assert adapter.name == "stories"
    assert all(tensor.untyped_storage().data_ptr() == pool.vectors.data_ptr() for tensor in adapter.tensors.values())


def test_b_is_multiplied_with_the_scaling_of_its_layer_and_a_with_nothing(
    experts: Path, change_config: Callable[..., None]
) -> None:
    for folder in experts.iterdir():
        change_config(folder, lora_alpha=6, alpha_pattern={"v_proj": 10})
    pool = load_pool(str(experts))
    found = {name: pool.scaling(name) for name in pool.layout.names}
    assert {scale for name, scale in found.items() if "lora_A" in name} == {1.0}
    assert {scale for name, scale in found.items() if "v_proj.lora_B" in name} == {10 / 4}
    assert {scale for name, scale in found.items() if "q_proj.lora_B" in name} == {6 / 4}
