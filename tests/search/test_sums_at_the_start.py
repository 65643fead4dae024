"""A swarm that begins with the experts and sums of them: where these lie, what they cost, and that it resumes."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from swarm_lightning.callbacks import History, SwarmCheckpoint
from swarm_lightning.errors import InputError
from swarm_lightning.search import ModelSwarm
from swarm_lightning.swarm.population import Start
from tests.search.tiny_search import FULL, World, read_rows, search

EXPERTS = 4
SUMS = EXPERTS + 4  # and their sums; the soup comes behind the children
SETTINGS: dict[str, Any] = {"particles": 11, "engine": FULL, "start": Start("experts_and_sums"), "iterations": 2}
PRODUCTS: dict[str, Any] = {**SETTINGS, "coefficients": "module", "draws": "coefficient"}


def greedy(worth: dict[tuple[int, ...], float]) -> tuple[int, ...]:
    """Return the experts of the greedy soup, by a loop of its own over known utilities of all of their means."""
    alone = sorted(range(EXPERTS), key=lambda place: -worth[(place,)])
    soup: tuple[int, ...] = (alone[0],)
    for place in alone[1:]:
        larger = tuple(sorted((*soup, place)))
        if worth[larger] >= worth[soup]:
            soup = larger
    return soup


def means_of(experts: Tensor) -> dict[tuple[int, ...], Tensor]:
    """Return the mean of every set of experts."""
    sets = [tuple(place for place in range(EXPERTS) if number >> place & 1) for number in range(1, 1 << EXPERTS)]
    return {chosen: experts[list(chosen)].mean(dim=0) for chosen in sets}


class Beginning(L.Callback):
    """Keeps the first positions and what was asked for them, before anything moves."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        assert isinstance(pl_module, ModelSwarm)
        if int(pl_module.swarm.iterations) > 0:
            return
        self.positions, self.evaluations = pl_module.positions.clone(), pl_module.state.evaluations
        self.scores = pl_module.state.scores.best.clone()


@pytest.mark.parametrize("settings", [SETTINGS, PRODUCTS, {**PRODUCTS, "guide": "smooth"}])
def test_the_last_particle_begins_as_the_greedy_soup(world: World, tmp_path: Path, settings: dict[str, Any]) -> None:
    beginning = Beginning()
    module = search(world, tmp_path, callbacks=[beginning], **settings)
    assert module.splits is not None
    examples, first = module.splits.validation, beginning.positions
    means = means_of(first[:EXPERTS])
    asked = module.particle_swarm.space.vectors(torch.stack(list(means.values())))
    evaluation = module.evaluator_of(module.followed).evaluate(asked, examples)
    worth = dict(zip(means, evaluation.utilities.tolist(), strict=True))
    soup = greedy(worth)
    place = list(means).index(soup)
    assert first[-1].equal(means[soup])
    assert float(module.swarm.initial_utilities[-1]) == worth[soup]
    assert beginning.scores[-1].equal(evaluation.scores[place])
    everything = first[:EXPERTS].mean(dim=0)
    for row, scale in enumerate((1.0, 0.5, 1.5, 2.0), start=EXPERTS):
        assert first[row].equal(scale * everything)
    # All first positions, and the sums that the soup is found by; the first ones and the soup by the objective too
    # where a guide is followed.
    guided = module.state.guided
    assert guided == ("guide" in settings)
    assert beginning.evaluations == len(examples) * (11 + EXPERTS - 1 + guided * (11 + 1))
    if guided:
        reported = module.evaluator.evaluate(asked, examples)
        assert float(module.state.reported[-1]) == float(reported.utilities[place])
        assert module.state.reported_scores[-1].equal(reported.scores[place])


def test_a_search_from_sums_resumes_as_if_it_had_not_been_stopped(world: World, tmp_path: Path) -> None:
    whole = search(world, tmp_path / "whole", callbacks=[History(), SwarmCheckpoint()], **PRODUCTS)
    search(world, tmp_path / "part", callbacks=[History(), SwarmCheckpoint()], **{**PRODUCTS, "iterations": 1})
    checkpoint = str(tmp_path / "part" / "checkpoints" / "last.ckpt")
    callbacks = [History(), SwarmCheckpoint()]
    again = search(world, tmp_path / "part", callbacks=callbacks, ckpt_path=checkpoint, **PRODUCTS)
    assert again.positions.equal(whole.positions)
    assert again.state.evaluations == whole.state.evaluations
    first, second = (read_rows(tmp_path / name / "history.csv") for name in ("whole", "part"))
    assert [row["global_best"] for row in first] == [row["global_best"] for row in second]


def test_a_population_without_room_for_the_soup_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"particles to be 9 or more with model.start.kind experts_and_sums and 4 exp"):
        search(world, tmp_path, **{**PRODUCTS, "particles": SUMS})
    assert search(world, tmp_path, **{**PRODUCTS, "particles": SUMS + 1, "iterations": 1}).positions.shape[0] == 9
