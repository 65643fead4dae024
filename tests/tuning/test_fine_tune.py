"""An expert is what a plain loop of transformers and PEFT makes of the same examples in the same order."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from swarm_lightning.errors import InputError
from swarm_lightning.experts.pool import load_pool
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.locks import lock_if_free
from swarm_lightning.tuning.conversations import Conversation, Turn
from swarm_lightning.tuning.fine_tune import ExpertMaker, ExpertPlan
from swarm_lightning.tuning.folder import work_folder
from swarm_lightning.tuning.settings import LoraSettings, TextSettings, TrainingSettings
from tests.search.tiny_search import calm_process, read_rows

LORA = LoraSettings(rank=4, alpha=8, target_modules=["q_proj", "down_proj"])
TEXT = TextSettings(template="Question: {prompt}\nAnswer: {response}")
TRAINING = TrainingSettings(epochs=2, learning_rate=0.01, batch_size=4, warmup_ratio=0.25, checkpoint_steps=1)
QUESTIONS = [Turn("user", f"What is {n} plus {'1' * (n % 3 + 1)}?") for n in range(10)]
SAID = [Conversation(str(n), (asked, Turn("assistant", "yes " * (n % 4 + 1)))) for n, asked in enumerate(QUESTIONS)]
CPU = {"accelerator": "cpu", "enable_progress_bar": False}
MakeMaker = Callable[..., ExpertMaker]


@pytest.fixture(scope="module")
def new_maker(tiny_base_folder: Path) -> MakeMaker:
    base, tokenizer = load_base(str(tiny_base_folder))

    def make(lora: LoraSettings = LORA, text: TextSettings = TEXT, seed: int = 5, **training: Any) -> ExpertMaker:
        settings = TrainingSettings(**{**vars(TRAINING), **training})
        return ExpertMaker(base, tokenizer, str(tiny_base_folder), lora, text, settings, seed)

    return make


def made(maker: ExpertMaker, folder: Path, **trainer: Any) -> dict[str, Tensor]:
    plan = maker.plan(folder.name, SAID, "sums")
    with calm_process():
        assert maker.make(plan, folder, {**CPU, **trainer})
    return load_file(folder / "adapter_model.safetensors")


def plain_loop(base: Path, plan: ExpertPlan, steps: int, batch_size: int) -> dict[str, Tensor]:
    """Train as the documentation of PEFT does it, without padding: one example at a time, gradients summed up."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        settings = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, weight_decay=0.0)
    generator = torch.Generator().manual_seed(5)
    order: list[int] = []
    for step in range(steps):
        if not order:
            order = torch.randperm(len(plan.examples), generator=generator).tolist()
        batch, order = order[:batch_size], order[batch_size:]
        # 25% of 6 steps, rounded up, to rise; then half a cosine: written down by hand for learning rate 0.01.
        rate = 0.01 * step / 2 if step < 2 else 0.01 * 0.5 * (1 + math.cos(math.pi * (step - 2) / 4))
        examples = [plan.examples[place] for place in batch]
        count = sum(sum(label != -100 for label in example.labels) for example in examples)
        for example in examples:
            logits = model(torch.tensor([example.input_ids])).logits[0].log_softmax(-1)
            for place, label in enumerate(example.labels[1:]):
                if label != -100:
                    (-logits[place, label] / count).backward(retain_graph=True)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
    return get_peft_model_state_dict(model)


def differs(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.smoke
def test_an_expert_is_what_a_plain_loop_makes_of_it(
    new_maker: MakeMaker, tiny_base_folder: Path, tmp_path: Path
) -> None:
    maker = new_maker()
    found = made(maker, tmp_path / "sums")
    plan = maker.plan("sums", SAID, "sums")
    assert plan.identity["training"]["epochs"] == 2  # 10 examples in batches of 4: 3 steps an epoch
    expected = plain_loop(tiny_base_folder, plan, steps=6, batch_size=4)
    assert differs(found, expected) < 1e-5
    start = plain_loop(tiny_base_folder, plan, steps=0, batch_size=4)
    assert differs(start, expected) > 1e-2


def test_accumulated_gradients_are_those_of_the_whole_batch(new_maker: MakeMaker, tmp_path: Path) -> None:
    # The replies have unequal lengths: a mean of the micro-batches' means would be another gradient.
    whole = made(new_maker(), tmp_path / "whole")
    assert differs(whole, made(new_maker(micro_batch_size=1), tmp_path / "one")) < 1e-5
    assert differs(whole, made(new_maker(micro_batch_size=3), tmp_path / "three")) < 1e-5
    assert differs(whole, made(new_maker(gradient_checkpointing=True), tmp_path / "checkpointed")) < 1e-5


def test_the_learning_rate_rises_and_falls_as_a_cosine(new_maker: MakeMaker, tmp_path: Path) -> None:
    made(new_maker(), tmp_path / "sums", logger=CSVLogger(str(tmp_path), name="logs"))
    rows = read_rows(tmp_path / "logs" / "version_0" / "metrics.csv")
    rates = [float(row["learning_rate"]) for row in rows]
    # 2 of 6 steps to rise from 0 to 0.01, then cos from 0 to pi over 4 steps: 1, 0.5 (1 + sqrt(1/2)), 0.5, ...
    assert rates == pytest.approx([0, 0.005, 0.01, 0.00853553, 0.005, 0.00146447], abs=1e-8)


def test_the_learning_rate_of_one_cycle_rises_from_a_25th_and_falls_to_almost_nothing(
    new_maker: MakeMaker, tmp_path: Path
) -> None:
    made(new_maker(schedule="one_cycle"), tmp_path / "sums", logger=CSVLogger(str(tmp_path), name="logs"))
    rates = [float(row["learning_rate"]) for row in read_rows(tmp_path / "logs" / "version_0" / "metrics.csv")]
    # A quarter of 7 steps goes up, to 0.75. From there to 6 it goes down: 0.005 (1 + cos(pi (k - 0.75) / 5.25)).
    assert rates == pytest.approx([0.0004, 0.0099442, 0.0086653, 0.0061126, 0.0031733, 0.00086881], abs=1e-6)


def test_one_cycle_takes_a_rise_of_no_steps(new_maker: MakeMaker, tmp_path: Path) -> None:
    # Half of 1 + 1 steps is the first one: the learning rate is as high as it gets there.
    logger = CSVLogger(str(tmp_path), name="logs")
    made(new_maker(schedule="one_cycle", warmup_ratio=0.5, steps=1), tmp_path / "sums", logger=logger)
    rates = [float(row["learning_rate"]) for row in read_rows(tmp_path / "logs" / "version_0" / "metrics.csv")]
    assert rates == pytest.approx([0.01])


class Interrupt(L.Callback):
    """Ends a training in the middle of a step, as a kill does, some steps behind its last checkpoint."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:
            raise RuntimeError("killed")


@pytest.mark.smoke
@pytest.mark.parametrize(("every", "step"), [(1, 4), (2, 5), (4, 2)])
def test_an_interrupted_training_ends_in_the_same_adapter(
    new_maker: MakeMaker, tmp_path: Path, every: int, step: int
) -> None:
    lora = LoraSettings(rank=4, dropout=0.3, target_modules=["q_proj", "down_proj"])
    settings: dict[str, Any] = {"lora": lora, "checkpoint_steps": every, "epochs": 3}
    settings["validation_share"] = 0.2  # 8 examples are left: 2 steps an epoch
    expected = made(new_maker(**settings), tmp_path / "undisturbed")
    with pytest.raises(RuntimeError, match="killed"):
        made(new_maker(**settings), tmp_path / "killed", callbacks=[Interrupt(step)])
    assert not (tmp_path / "killed").exists()
    assert (work_folder(tmp_path / "killed") / "last.ckpt").exists() == (every <= step)
    found = made(new_maker(**settings), tmp_path / "killed")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    records = [json.loads((tmp_path / name / "tuning.json").read_text()) for name in ("undisturbed", "killed")]
    assert records[0]["loss"] == records[1]["loss"]
    assert records[0]["validation_loss"] == records[1]["validation_loss"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "undisturbed"]


def test_a_training_does_not_go_on_with_other_settings(new_maker: MakeMaker, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        made(new_maker(), tmp_path / "sums", callbacks=[Interrupt(3)])
    other = new_maker(learning_rate=0.02)
    with pytest.raises(InputError, match="started with others"):
        other.is_made(other.plan("sums", SAID, "sums"), tmp_path / "sums")
    with pytest.raises(InputError, match="started with others"):
        made(other, tmp_path / "sums")


def test_a_finished_expert_is_not_made_again_and_one_of_other_settings_is_refused(
    new_maker: MakeMaker, tmp_path: Path
) -> None:
    folder = tmp_path / "sums"
    made(new_maker(), folder)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    made(new_maker(micro_batch_size=2), folder)  # says how fast, not what
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before
    with pytest.raises(InputError, match=r"training.learning_rate is 0.02, there 0.01; training.weight_decay is 0.1"):
        made(new_maker(learning_rate=0.02, weight_decay=0.1), folder)
    other = new_maker().plan("sums", SAID[1:], "sums")
    with pytest.raises(InputError, match="the data differ from those there"):
        new_maker().is_made(other, folder)


def test_a_folder_of_somebody_else_is_refused(new_maker: MakeMaker, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(InputError, match="written by `swarm experts`"):
        made(new_maker(), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_an_expert_that_another_process_is_making_is_left_to_it(new_maker: MakeMaker, tmp_path: Path) -> None:
    maker = new_maker()
    plan = maker.plan("sums", SAID, "sums")
    with lock_if_free(work_folder(tmp_path / "sums") / "lock") as mine:
        assert mine
        assert not maker.make(plan, tmp_path / "sums", CPU)
    assert not (tmp_path / "sums").exists()


def test_experts_of_one_seed_begin_alike_leave_the_base_and_move_together(
    new_maker: MakeMaker, tiny_base_folder: Path, tmp_path: Path
) -> None:
    maker = new_maker()
    before = {name: tensor.clone() for name, tensor in maker.base.state_dict().items()}
    first = made(new_maker(learning_rate=1e-12), tmp_path / "experts" / "first")
    second = made(new_maker(learning_rate=1e-12, epochs=1), tmp_path / "experts" / "second")
    assert differs(first, second) < 1e-9
    after = maker.base.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert load_pool(str(tmp_path / "experts")).names == ("first", "second")
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base_folder), str(tmp_path / "experts/first"))


def test_the_held_out_loss_is_that_of_the_saved_adapter(
    new_maker: MakeMaker, tiny_base_folder: Path, tmp_path: Path
) -> None:
    maker = new_maker(validation_share=0.3, micro_batch_size=2)
    made(maker, tmp_path / "sums")
    plan = maker.plan("sums", SAID, "sums")
    assert (len(plan.examples), len(plan.held_out)) == (7, 3)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base_folder), str(tmp_path / "sums"))
    total, count = 0.0, 0
    for example in plan.held_out:
        with torch.no_grad():
            logits = model(torch.tensor([example.input_ids])).logits[0].log_softmax(-1)
        for place, label in enumerate(example.labels[1:]):
            if label != -100:
                total, count = total - float(logits[place, label]), count + 1
    record = json.loads((tmp_path / "sums" / "tuning.json").read_text())
    assert record["validation_loss"] == pytest.approx(total / count, abs=1e-5)


def test_the_card_tells_base_data_and_settings(new_maker: MakeMaker, tmp_path: Path) -> None:
    made(new_maker(), tmp_path / "sums")
    card = (tmp_path / "sums" / "README.md").read_text()
    assert card.startswith("---\nbase_model: base\n")
    assert "10 examples of sums in 6 steps" in card
    assert r"| training\.learning\_rate | 0.01 |" in card


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (LoraSettings(target_modules=["q_prj"]), "Did you mean 'q_proj'"),
        (LoraSettings(target_modules=["embed_tokens"]), "'model.embed_tokens' is none"),
    ],
)
def test_a_base_without_such_layers_is_refused(new_maker: MakeMaker, lora: LoraSettings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        new_maker(lora=lora)


def test_trainers_that_cannot_train_an_adapter_are_refused(new_maker: MakeMaker, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trained in float32"):
        made(new_maker(), tmp_path / "sums", precision="16-mixed")
    with pytest.raises(InputError, match="several"):
        made(new_maker(), tmp_path / "sums", devices=2)
    with pytest.raises(InputError, match="schedule of transformers"):
        made(new_maker(schedule="cosinus"), tmp_path / "sums")
    assert not (tmp_path / "sums").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "training.epochs"),
        ({"warmup_ratio": 1.0}, "training.warmup_ratio"),
        ({"learning_rate": float("nan")}, "training.learning_rate"),
        ({"betas": (0.9, 1.0)}, "training.betas"),
        ({"max_gradient_norm": 0.0}, "training.max_gradient_norm"),
        ({"weight_decay": -1.0}, "training.weight_decay"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingSettings(**settings)
