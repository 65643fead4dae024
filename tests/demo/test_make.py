"""The recipe makes the same tasks again, and runs from beginning to end in small."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from swarm_lightning.demo import SEED, TASK_NAMES, TASKS
from swarm_lightning.demo.curricula import Lessons
from swarm_lightning.demo.experts import ExpertSettings
from swarm_lightning.demo.make import WorldSettings, main, make_world, write_tasks
from swarm_lightning.demo.other_models import MODELS
from swarm_lightning.demo.pretrain import PretrainSettings

OTHER_SIZES: tuple[dict[str, int], ...] = (
    {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2},
    {"n_embd": 16, "n_layer": 1, "n_head": 2},
)
SMALL = WorldSettings(
    pretrain=PretrainSettings(hidden_size=16, intermediate_size=24, layers=1, heads=2, steps=3, batch_size=8),
    expert=ExpertSettings(rank=2, alpha=2),
    lessons={
        "first": Lessons(("south", "largest"), steps=2, batch_size=4),
        "second": Lessons(("west", "fruit"), steps=2, batch_size=4),
    },
    models={
        name: replace(model, sizes=sizes, lessons=replace(model.lessons, steps=2, batch_size=4))
        for (name, model), sizes in zip(MODELS.items(), OTHER_SIZES, strict=True)
    },
)


OTHERS = [f"models/{name}/model.safetensors" for name in SMALL.models]


@pytest.fixture(scope="module")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_world(folder, SMALL)
    return folder


def test_the_generator_reproduces_the_packaged_tasks_byte_for_byte(tmp_path: Path) -> None:
    write_tasks(tmp_path, SEED)
    for name in TASK_NAMES:
        assert (tmp_path / f"{name}.json").read_bytes() == (TASKS / f"{name}.json").read_bytes()


def test_another_seed_makes_other_tasks(tmp_path: Path) -> None:
    write_tasks(tmp_path, SEED + 1)
    for name in TASK_NAMES:
        assert (tmp_path / f"{name}.json").read_bytes() != (TASKS / f"{name}.json").read_bytes()


@pytest.mark.slow
def test_a_small_recipe_makes_a_world_that_loads(small_world: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(small_world / "base")
    batch = tokenizer("Question: Which number is largest in 1 2 3 4?\nAnswer:", return_tensors="pt")
    for name in SMALL.lessons:
        base = AutoModelForCausalLM.from_pretrained(small_world / "base")
        adapted = PeftModel.from_pretrained(base, small_world / "experts" / name)
        assert adapted(**batch).logits.isfinite().all()


@pytest.mark.slow
def test_the_recipe_gives_the_same_weights_again(small_world: Path, tmp_path: Path) -> None:
    make_world(tmp_path, SMALL)
    for file in (
        "base/model.safetensors",
        *OTHERS,
        *(f"experts/{name}/adapter_model.safetensors" for name in SMALL.lessons),
    ):
        first, second = load_file(small_world / file), load_file(tmp_path / file)
        assert first.keys() == second.keys()
        assert all(torch.allclose(first[key], second[key], atol=1e-6) for key in first)


@pytest.mark.slow
def test_experts_leave_the_base_as_it_was(small_world: Path) -> None:
    keys = load_file(small_world / "experts" / "first" / "adapter_model.safetensors").keys()
    assert all(".lora_" in key for key in keys)


def test_a_folder_with_files_is_not_overwritten_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path)])
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "keep me"
