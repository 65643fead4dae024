import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from swarm_lightning.errors import InputError
from swarm_lightning.experts.export.adapter import export_adapter
from swarm_lightning.experts.pool import ExpertPool, load_pool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base

TOKENS = torch.tensor([[1, 40, 50, 60, 70, 80]])


def midpoint(pool: ExpertPool) -> torch.Tensor:
    return (pool.vectors[0] + pool.vectors[1]) / 2


@pytest.mark.smoke
@torch.no_grad()
def test_plain_peft_gives_the_logits_that_the_search_saw(
    tiny_base_folder: Path, tmp_path: Path, pool: ExpertPool
) -> None:
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], pool)
    adapted.load(midpoint(pool))
    folder = export_adapter(tmp_path / "runs" / "best", midpoint(pool), pool, "card")
    base = AutoModelForCausalLM.from_pretrained(tiny_base_folder)
    loaded = PeftModel.from_pretrained(base, str(folder))
    torch.testing.assert_close(loaded(input_ids=TOKENS).logits, adapted.model(input_ids=TOKENS).logits)


def test_the_files_are_those_of_an_expert(tiny_experts_folder: Path, tmp_path: Path, pool: ExpertPool) -> None:
    pool = replace(pool, config=pool.config | {"inference_mode": False})
    folder = export_adapter(tmp_path / "best", midpoint(pool), pool, "# Card é", base="owner/base")
    assert sorted(os.listdir(folder)) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    one, two = (load_file(tiny_experts_folder / name / "adapter_model.safetensors") for name in ("colours", "numbers"))
    written = load_file(folder / "adapter_model.safetensors")
    assert written.keys() == one.keys()
    assert all(torch.equal(tensor, (one[name] + two[name]) / 2) for name, tensor in written.items())
    assert {tensor.dtype for tensor in written.values()} == {torch.float32}
    expected = pool.config | {"inference_mode": True, "base_model_name_or_path": "owner/base"}
    assert json.loads((folder / "adapter_config.json").read_text()) == expected
    assert (folder / "README.md").read_text(encoding="utf-8") == "# Card é"


def test_an_export_is_an_expert_again(experts: Path, pool: ExpertPool) -> None:
    export_adapter(experts / "best", midpoint(pool), pool, "card")
    grown = load_pool(str(experts))
    assert grown.names[0] == "best"
    assert torch.equal(grown.vectors[0], midpoint(pool))


def test_an_existing_folder_is_refused_unless_it_may_be_overwritten(tmp_path: Path, pool: ExpertPool) -> None:
    folder = export_adapter(tmp_path / "best", pool.vectors[0], pool, "first")
    with pytest.raises(InputError, match="best' exists"):
        export_adapter(folder, pool.vectors[1], pool, "second")
    assert (folder / "README.md").read_text() == "first"
    (folder / "old").write_text("")
    export_adapter(folder, pool.vectors[1], pool, "second", overwrite=True)
    assert (folder / "README.md").read_text() == "second"
    assert not (folder / "old").exists()
    assert os.listdir(tmp_path) == ["best"]


def test_a_failed_export_leaves_nothing_behind_and_the_old_one_untouched(tmp_path: Path, pool: ExpertPool) -> None:
    folder = export_adapter(tmp_path / "best", pool.vectors[0], pool, "first")
    unwritable = "\ud800"  # half a character: it can't be encoded, after the weights have been written
    with pytest.raises(UnicodeEncodeError):
        export_adapter(folder, pool.vectors[1], pool, unwritable, overwrite=True)
    with pytest.raises(UnicodeEncodeError):
        export_adapter(tmp_path / "other", pool.vectors[1], pool, unwritable)
    assert os.listdir(tmp_path) == ["best"]
    assert (folder / "README.md").read_text() == "first"
    assert torch.equal(pool.layout.flatten(load_file(folder / "adapter_model.safetensors")), pool.vectors[0])


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path: Path, pool: ExpertPool) -> None:
    (tmp_path / ".best.0123abcd.partial").mkdir()
    (tmp_path / ".best.0123abcd.replaced").mkdir()
    (tmp_path / ".other.0123abcd.partial").mkdir()
    export_adapter(tmp_path / "best", pool.vectors[0], pool, "card")
    assert sorted(os.listdir(tmp_path)) == [".other.0123abcd.partial", "best"]


def test_a_place_that_can_not_be_written_is_refused_with_the_reason(tmp_path: Path, pool: ExpertPool) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Expected to write the adapter to .*file/best"):
        export_adapter(tmp_path / "file" / "best", pool.vectors[0], pool, "card")
    with pytest.raises(InputError, match="file' is a file"):
        export_adapter(tmp_path / "file", pool.vectors[0], pool, "card", overwrite=True)


def test_weights_that_are_not_finite_are_not_exported(tmp_path: Path, pool: ExpertPool) -> None:
    vector = pool.vectors[0].clone()
    vector[0] = float("nan")
    with pytest.raises(
        ValueError, match="finite weights to export, but 'base_model.model.model.layers.0.mlp.down_proj"
    ):
        export_adapter(tmp_path / "best", vector, pool, "card")
    with pytest.raises(ValueError, match="Expected a vector of shape"):
        export_adapter(tmp_path / "best", vector[1:], pool, "card")
    assert os.listdir(tmp_path) == []
