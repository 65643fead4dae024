"""What a sweep may vary, what it draws, and what it refuses."""

from typing import Any

import pytest
from optuna import create_study
from optuna.samplers import RandomSampler
from optuna.trial import Trial

from swarm_lightning.errors import InputError
from swarm_lightning.sweep.settings import PUBLISHED_SPACE, SweepSettings
from swarm_lightning.sweep.space import (
    Choice,
    Range,
    check_grid,
    draw_settings,
    keys_of,
    put,
    read_space,
    samples,
    size,
)

CONFIG: dict[str, Any] = {
    "model": {
        "particles": 20,
        "experts": "demo:experts",
        "optimizer": {
            "class_path": "ParticleSwarm",
            "init_args": {"lr": 0.75, "inertia": 0.2, "cognitive": 0.3, "social": 0.4, "repel": 0.05},
        },
    },
    "trainer": {"default_root_dir": "runs"},
}


def new_trial() -> Trial:
    return create_study(sampler=RandomSampler(seed=0)).ask()


def test_keys_may_leave_init_args_out() -> None:
    for key in ("model.optimizer.inertia", "model.optimizer.init_args.inertia"):
        assert list(read_space({key: [0.1, 0.2]}, CONFIG)) == ["model.optimizer.init_args.inertia"]


def test_a_class_is_drawn_with_its_settings() -> None:
    values = [{"class_path": "A", "init_args": {"lr": 1.0}}, {"class_path": "B"}]
    assert list(read_space({"model.optimizer": values}, CONFIG)) == ["model.optimizer"]


def test_the_default_space_is_the_published_one() -> None:
    # arXiv:2410.11163: phi_v, phi_p, phi_g, phi_w and lambda.
    read = read_space(PUBLISHED_SPACE, CONFIG)
    assert [values.samples for values in read.values()] == [
        [0.1, 0.2, 0.3],
        [0.1, 0.2, 0.3, 0.4, 0.5],
        [0.2, 0.3, 0.4, 0.5, 0.6],
        [0.01, 0.05, 0.1],
        [0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    ]
    assert size(read) == 3 * 5 * 5 * 3 * 6


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ([2, "two", None, True], [2, "two", None, True]),
        ([["a", "b"], ["c"]], [["a", "b"], ["c"]]),
        ({"low": 2, "high": 8, "step": 3}, [2, 5, 8]),
        ({"low": 1, "high": 3}, [1, 2, 3]),
    ],
)
def test_only_what_is_allowed_is_drawn(values: Any, allowed: list[Any]) -> None:
    space = read_space({"model.particles": values}, CONFIG)
    drawn = [draw_settings(space, new_trial())["model.particles"] for _ in range(3)]
    study = create_study(sampler=RandomSampler(seed=1))
    drawn += [draw_settings(space, study.ask())["model.particles"] for _ in range(30)]
    assert all(value in allowed for value in drawn)
    assert all(value in drawn for value in allowed)


def test_ranges_of_numbers_keep_their_bounds_and_kind() -> None:
    study = create_study(sampler=RandomSampler(seed=1))
    space = read_space({"model.optimizer.lr": {"low": 0.001, "high": 1.0, "log": True}}, CONFIG)
    drawn = [draw_settings(space, study.ask())["model.optimizer.init_args.lr"] for _ in range(60)]
    assert all(0.001 <= value <= 1.0 for value in drawn)
    assert sum(value < 0.0316 for value in drawn) > 15  # half of them, where the exponent is uniform
    assert Range(0.5, 1.0, 0.1).grid == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


def test_values_are_put_where_they_belong_and_nowhere_else() -> None:
    changed = put(CONFIG, {"model.optimizer.init_args.lr": 1.0})
    assert changed["model"]["optimizer"]["init_args"]["lr"] == 1.0
    assert CONFIG["model"]["optimizer"]["init_args"]["lr"] == 0.75
    changed["model"]["optimizer"]["init_args"]["lr"] = 0.75
    assert changed == CONFIG


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.optimizer.inertai": [1]}, "Did you mean 'model.optimizer.inertia'"),
        ({"model.inertia": [1]}, "Did you mean 'model.optimizer.inertia'"),
        ({"model.particles": []}, "empty"),
        ({"model.particles": 20}, "a list of values"),
        ({"model.particles": [20, 20]}, "different values"),
        ({"model.particles": [1, True]}, "different values"),
        ({"model.particles": {"low": 1}}, "a list of values"),
        ({"model.particles": {"low": 3, "high": 1}}, "low below high"),
        ({"model.particles": {"low": 0, "high": 1, "log": True}}, "above 0"),
        ({"model.particles": {"low": "a", "high": "b"}}, "numbers"),
        ({"model.particles": {"low": 1, "high": float("inf")}}, "finite numbers"),
        ({"model.particles": {"low": 1, "high": 9, "step": 9}}, "no more than high"),
        ({"model.particles": {"low": 1, "high": 9, "log": "no"}}, "true or false"),
        ({"trainer.default_root_dir": ["a", "b"]}, "may differ"),
        ({"model.optimizer.lr": [1], "model.optimizer.init_args.lr": [1]}, "twice"),
    ],
)
def test_spaces_that_cannot_be_searched_are_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_space(space, CONFIG)


def test_a_grid_needs_steps() -> None:
    with pytest.raises(InputError, match="with a step"):
        check_grid({"model.optimizer.lr": Range(0.1, 1.0)})
    check_grid({"a": Choice((1, 2)), "b": Range(1, 3)})


def test_the_size_of_a_space_is_the_number_of_different_settings() -> None:
    assert size({"a": Choice((1, 2)), "b": Range(1, 3), "c": Range(0.5, 1.0, 0.1)}) == 2 * 3 * 6
    assert size({"a": Range(1, 8, log=True)}) == 8
    assert size({"a": Choice((1, 2)), "b": Range(0.5, 1.0)}) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"trials": 0}, "trials"), ({"study": "a/b"}, "study"), ({"space": {}}, "empty"), ({"pruner_warmup": -1}, "warm")],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SweepSettings(**settings)


def test_a_variant_stands_for_its_settings_beside_what_is_drawn() -> None:
    variants: dict[str, dict[str, Any]] = {"as it is": {}, "few": {"model.optimizer.lr": 0.5, "model.particles": 4}}
    space = read_space({"model.optimizer.inertia": [0.1, 0.2]}, CONFIG, variants)
    lr, inertia = "model.optimizer.init_args.lr", "model.optimizer.init_args.inertia"
    assert keys_of(space) == {lr, inertia, "model.particles"}
    assert size(space) == 4
    study = create_study(sampler=RandomSampler(seed=0))
    for _ in range(8):
        drawn = draw_settings(space, study.ask())
        changed = put(CONFIG, drawn)
        few = drawn["variant"] == "few"
        assert changed["model"]["particles"] == (4 if few else 20)
        assert changed["model"]["optimizer"]["init_args"]["lr"] == (0.5 if few else 0.75)
        assert changed.keys() == CONFIG.keys()  # the name of the variant is no key of a config
    # What shows whether the config takes all holds every variant.
    assert {sample["variant"] for sample in samples(space)} == set(variants)


def test_a_key_of_a_variant_can_not_be_drawn_too() -> None:
    with pytest.raises(InputError, match="every key of sweep.space once"):
        read_space({"model.particles": [4, 5]}, CONFIG, {"few": {"model.particles": 4}, "more": {}})
