from typing import Any

import pytest
import torch

from swarm_lightning.evaluation.engine.batches import lay_out
from swarm_lightning.evaluation.engine.crowd import SHORTEST_PREFIX, Crowd, common_prefix
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from tests.evaluation.all_logits import all_logits
from tests.evaluation.plain_peft import PlainPeft

PREFIX = [1, *range(40, 40 + SHORTEST_PREFIX)]


@pytest.mark.parametrize("particles", [(0, 1, 2, 3), (1, 2), (3, 0), (2,)])
def test_any_particles_give_the_logits_of_plain_peft(
    particles: tuple[int, ...], adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft
) -> None:
    sequences = [[1, 40 + particle, 50, *[60] * particle] for particle in range(4)]
    batch = lay_out({particle: [particle] for particle in particles}, sequences, 0, 0, torch.device("cpu"))
    with torch.inference_mode():
        crowd = Crowd(adapted, pool.vectors)
        logits = crowd.forward(batch.particles, batch.tokens, batch.mask, batch.positions)
    for row, particle in enumerate(particles):
        torch.testing.assert_close(logits[row], plain.logits(particle, sequences[particle])[-1])


def test_without_vectors_it_is_the_base(adapted: AdaptedModel, plain: PlainPeft) -> None:
    batch = lay_out({0: [0]}, [[1, 40, 50]], 0, 0, torch.device("cpu"))
    with torch.inference_mode(), adapted.base_only():
        logits = all_logits(Crowd(adapted, None), batch)
    torch.testing.assert_close(logits[0], plain.logits(None, [1, 40, 50]))


def test_crowds_take_turns_on_one_model(adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft) -> None:
    """Each takes up its own particles again, though the other has carried particles of the same numbers meanwhile."""
    crowds = [Crowd(adapted, pool.vectors[:2]), Crowd(adapted, pool.vectors[2:])]
    batch = lay_out({0: [0], 1: [0]}, [[1, 40, 50]], 0, 0, torch.device("cpu"))
    with torch.inference_mode():
        for turn in range(4):
            logits = all_logits(crowds[turn % 2], batch)
            for row in range(2):
                torch.testing.assert_close(logits[row], plain.logits(2 * (turn % 2) + row, [1, 40, 50]))


def test_a_prefix_is_computed_once_per_particle(adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft) -> None:
    rows: list[int] = []

    def note(_: object, __: object, arguments: dict[str, Any]) -> None:
        rows.append(len(arguments["input_ids"]))

    hook = adapted.model.register_forward_pre_hook(note, with_kwargs=True)
    crowd = Crowd(adapted, pool.vectors, PREFIX)
    with torch.inference_mode():
        found = [crowd.prefixes(particles) for particles in ((0, 2), (2,), (1, 2, 3), (0, 1, 2, 3))]
    hook.remove()
    assert rows == [2, 2]  # 0 and 2, then 1 and 3
    for particle in range(4):
        with torch.no_grad():
            cache = plain.model(particle)(input_ids=torch.tensor([PREFIX]), use_cache=True).past_key_values
        for layer, (keys, values) in zip(cache.layers, found[-1], strict=True):
            torch.testing.assert_close(keys[particle], layer.keys[0])
            torch.testing.assert_close(values[particle], layer.values[0])
    assert torch.equal(found[0][1][0][1], found[1][1][0][0])


def test_only_rows_that_all_begin_with_the_prefix_share_it(adapted: AdaptedModel, pool: ExpertPool) -> None:
    crowd = Crowd(adapted, pool.vectors, PREFIX)
    assert crowd.shared([[*PREFIX, 5], [*PREFIX, 6, 7]]) == len(PREFIX)
    assert crowd.shared([[*PREFIX, 5], [1, 2, 3]]) == 0
    assert crowd.shared([[*PREFIX, 5], PREFIX]) == 0  # nothing would be left to feed
    assert Crowd(adapted, pool.vectors).shared([[*PREFIX, 5]]) == 0


def test_a_short_prefix_is_not_worth_it(adapted: AdaptedModel, pool: ExpertPool) -> None:
    assert Crowd(adapted, pool.vectors, range(SHORTEST_PREFIX - 1)).prefix == ()
    assert len(Crowd(adapted, pool.vectors, range(SHORTEST_PREFIX)).prefix) == SHORTEST_PREFIX


@pytest.mark.parametrize(
    ("settings", "shared"),
    [
        ({"sliding_window": 4096}, False),
        ({"layer_types": ["full_attention", "sliding_attention"]}, False),
        ({"layer_types": ["chunked_attention", "full_attention"]}, False),
        ({"layer_types": ["full_attention", "full_attention"], "sliding_window": None}, True),
    ],
)
def test_a_model_that_looks_back_over_a_window_shares_no_prefix(
    settings: dict[str, object],
    shared: bool,
    adapted: AdaptedModel,
    pool: ExpertPool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in settings.items():
        monkeypatch.setattr(adapted.model.config, name, value, raising=False)
    assert bool(Crowd(adapted, pool.vectors, PREFIX).prefix) == shared


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [
        ([], ()),
        ([[]], ()),
        ([[1, 2, 3]], (1, 2)),
        ([[1, 2, 3], [1, 2, 3]], (1, 2)),
        ([[1, 2, 3], [1, 2]], (1,)),
        ([[5, 2, 3], [1, 2, 3]], ()),
        ([[1, 2, 9, 4], [1, 2, 3, 4], [1, 2, 5]], (1, 2)),
        ([[1, 2], []], ()),
    ],
)
def test_a_common_prefix_leaves_every_sequence_a_token(sequences: list[list[int]], expected: tuple[int, ...]) -> None:
    assert common_prefix(sequences) == expected
