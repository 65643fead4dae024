"""The module itself: seeds, population, schedules, checkpoints; trajectories and resuming have files of their own."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file
from torch.optim.lr_scheduler import ExponentialLR

from swarm_lightning.callbacks import History, StopOnPlateau, SwarmCheckpoint
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import ExactMatch
from swarm_lightning.search import ModelSwarm
from swarm_lightning.swarm.population import Start
from tests.search.tiny_search import (
    FULL,
    TIMINGS,
    World,
    leaves,
    load_checkpoint,
    read_rows,
    same,
    search,
    write_dataset,
)


def rows(folder: Path) -> list[dict[str, str]]:
    found = read_rows(folder / "history.csv")
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in found]


def test_one_seed_gives_one_search_and_another_seed_another(world: World, tmp_path: Path) -> None:
    found = {}
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        module = search(world, tmp_path / name, callbacks=[History()], seed=seed, particles=6)
        found[name] = module.swarm
    assert rows(tmp_path / "first") == rows(tmp_path / "again")
    for name, tensor in found["first"].memory().items():
        assert same(tensor, found["again"].memory()[name]), name
    assert not found["first"].positions[4:].equal(found["other"].positions[4:])
    assert found["other"].iterations == found["first"].iterations == 3


def test_a_start_with_base_and_sparsified_experts_scores_the_base_among_the_particles(
    world: World, tmp_path: Path
) -> None:
    start = Start("base_and_sparsified", 0.5)
    module = search(world, tmp_path, particles=9, iterations=0, start=start)
    examples = module.trainer.datamodule.splits.validation  # type: ignore[attr-defined]
    base = module.evaluator.evaluate_base(examples).scores[0]
    assert module.evaluator.evaluate(module.positions.data[4:5], examples).scores[0].equal(base)
    experts, sparse = module.positions.data[:4], module.positions.data[5:]
    assert ((sparse == 0) | (sparse == 2 * experts)).all()


def test_the_experts_stand_in_front_and_their_children_lie_on_lines_through_two_of_them(
    world: World, tmp_path: Path
) -> None:
    module = search(world, tmp_path, particles=7, iterations=0)
    experts = [load_file(world.experts / name / "adapter_model.safetensors") for name in sorted(module.pool.names)]
    assert module.pool.names == ("colours", "numbers", "stories", "towns")
    for position, tensors in zip(module.positions, experts, strict=False):
        for name, part in module.pool.layout.unflatten(position.data).items():
            assert part.equal(tensors[name])
    originals = module.positions[:4].double()
    for child in module.positions[4:].double():
        distances = []
        for a in range(4):
            for b in range(a):
                line, offset = originals[a] - originals[b], child - originals[b]
                share = float(offset @ line / (line @ line))
                distances.append((float((offset - share * line).norm()), share))
        distance, share = min(distances)
        assert distance < 1e-4
        assert -1 < share < 2  # t of a and 1 - t of b, t in [0, 2): either parent may be called a


HISTORY_NAMES = {"swarm/global_best": "global_best", "particles/utility_02": "utility/particle_02"}


def test_any_scheduler_of_torch_drives_the_step_length_and_a_monitor_logs_it(world: World, tmp_path: Path) -> None:
    search(
        world,
        tmp_path,
        callbacks=[History(score_tables=False), LearningRateMonitor()],
        scheduler=partial(ExponentialLR, gamma=0.5),
        logger=CSVLogger(tmp_path, name="logs"),
        lr=0.8,
    )
    assert [float(row["step_length"]) for row in rows(tmp_path)] == pytest.approx([0.8, 0.4, 0.2, 0.1])
    logged = read_rows(next(tmp_path.rglob("metrics.csv")))
    monitored = [float(row["lr-ParticleSwarm"]) for row in logged if row.get("lr-ParticleSwarm")]
    assert monitored == pytest.approx([0.8, 0.4, 0.2])  # what each of the three iterations travels with


class SeesNumbers(L.Callback):
    """Keeps what a callback finds at the end of every iteration; loggers get every other one."""

    def __init__(self) -> None:
        self.found: list[dict[str, float]] = []

    def on_fit_start(self, trainer: L.Trainer, _: L.LightningModule) -> None:
        trainer.log_every_n_steps = 2  # type: ignore[attr-defined]

    def on_train_epoch_end(self, trainer: L.Trainer, _: L.LightningModule) -> None:
        self.found.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def test_loggers_get_every_nth_iteration_and_callbacks_all_of_them(world: World, tmp_path: Path) -> None:
    sees, logger = SeesNumbers(), CSVLogger(tmp_path, name="logs")
    search(world, tmp_path, callbacks=[History(), sees], logger=logger, iterations=5)
    logged, history = read_rows(next(tmp_path.rglob("metrics.csv"))), rows(tmp_path)
    assert [row["step"] for row in logged] == ["0", "2", "4", "5"]  # the first positions, and the end
    assert [found["step"] for found in sees.found] == [1, 2, 3, 4, 5]
    for row in logged:
        iteration = int(row["step"])
        of_history = history[iteration]
        for name in ("swarm/global_best", "particles/utility_02"):
            assert float(row[name]) == pytest.approx(float(of_history[HISTORY_NAMES[name]]))
            if iteration:
                assert sees.found[iteration - 1][name] == sees.found[iteration - 1][HISTORY_NAMES[name]]


def test_the_checkpoint_holds_the_swarm_and_nothing_of_the_base(world: World, tmp_path: Path) -> None:
    module = search(world, tmp_path, callbacks=[SwarmCheckpoint()], iterations=1)
    checkpoint = load_checkpoint(tmp_path)  # with weights_only=True
    assert list(checkpoint["state_dict"]) == ["positions"]
    particles, weights = checkpoint["state_dict"]["positions"].shape
    assert (particles, weights) == (4, module.pool.layout.size)
    numbers = sum(leaf.numel() for leaf in leaves(checkpoint).values() if isinstance(leaf, torch.Tensor))
    # x, v and p of every particle, g and w; and little else: counters, utilities, the generator's 5056 bytes.
    assert (3 * particles + 2) * weights < numbers < (3 * particles + 2) * weights + 6000
    size = (tmp_path / "checkpoints" / "last.ckpt").stat().st_size
    assert size < 4 * (3 * particles + 2) * weights + 40_000


def test_iterations_are_the_trainers_steps_and_the_base_never_learns(world: World, tmp_path: Path) -> None:
    module = search(world, tmp_path, iterations=2)
    assert module.trainer.global_step == int(module.swarm.iterations) == 2
    assert [name for name, _ in module.named_parameters()] == ["positions"]
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert module.positions.dtype == torch.float32


class Letters:
    """A user's own objective: how many of the first five characters of the reply are letters."""

    bounds = (0.0, 5.0)

    def check(self, examples, tokenizer) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        pass

    def prompt(self, example, tokenizer) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001
        return str(example.question)

    def evaluate(self, examples, model) -> Any:  # type: ignore[no-untyped-def]  # noqa: ANN001
        from swarm_lightning.objectives import GenerationSettings, Outcome

        replies = model.generate([example.question for example in examples], GenerationSettings(5))
        return [Outcome(reply, None, float(sum(map(str.isalpha, reply[:5])))) for reply in replies]


def test_anything_with_the_four_members_is_an_objective(world: World, tmp_path: Path) -> None:
    module = search(world, tmp_path, objective=Letters(), iterations=1)
    model = world.load(world.experts / "towns")
    replies = [world.reply(model, record["question"], new_tokens=5) for record in world.split("dev")]
    expected = sum(sum(map(str.isalpha, reply[:5])) for reply in replies) / len(replies)
    assert float(module.swarm.initial_utilities[3]) == pytest.approx(expected, abs=1e-12)
    assert expected > 0


def test_the_summary_counts_evaluations_and_iterations(world: World, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "five.json", validation=5, test=2)
    module = search(world, tmp_path, dataset=dataset, iterations=2, callbacks=[StopOnPlateau(None)], engine=FULL)
    result = module.result()
    assert (result.iterations, result.evaluations) == (2, 3 * 4 * 5)  # the first positions and two iterations
    assert [row.examples for row in result.validation] == [5, 5]
    assert result.seconds > 0


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"particles": 1}, "particles"),
        ({"particles": 0}, "particles"),
        ({"child_span": 0.0}, "child_span"),
        ({"child_span": float("inf")}, "child_span"),
        ({"child_span": float("nan")}, "child_span"),
        ({"ensemble_size": 0}, "ensemble_size"),
    ],
)
def test_a_number_out_of_range_is_refused_before_anything_is_read(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        ModelSwarm("no base", experts="no experts", objective=ExactMatch(), **settings)


def test_parts_that_are_not_loaded_yet_say_so() -> None:
    module = ModelSwarm("no base", experts="no experts", objective=ExactMatch())
    for part in ("evaluator", "tokenizer"):
        with pytest.raises(RuntimeError, match="setup"):
            getattr(module, part)
