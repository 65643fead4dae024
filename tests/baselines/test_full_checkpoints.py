"""`swarm compare` on full checkpoints: its numbers recomputed by NumPy and plain `transformers` from the files."""

import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swarm_lightning.baselines import evogm
from swarm_lightning.baselines.data_merge import read_merge
from swarm_lightning.errors import InputError
from swarm_lightning.experts.kinds import load_experts
from tests.baselines.counting import asked
from tests.baselines.optional import missing, need
from tests.full_models import NAMES, FullWorld, PlainTransformers, copy_tokenizer, make_base, perturbed, save_copies
from tests.search.tiny_search import read_rows, run_swarm, write_dataset
from tests.swarm.reference import Vector

pytestmark = pytest.mark.slow  # a whole comparison of all methods; `test_methods.py` looks at each on adapters
SEED = 3
DENSITY = 0.5
FIXED = ["best_expert", "data_merge", "uniform_soup", "slerp", "task_arithmetic", "ties", "model_stock", "greedy_soup"]
DRAWN = [
    "dare_ties", "lorahub", "evolmerge", "random_search", "genome", "genome_plus", "pso_merging", "evogm",
    "model_swarm",
]  # fmt: skip


@dataclass
class Compared:
    world: FullWorld
    plain: PlainTransformers
    folder: Path
    printed: str
    asked: int

    @property
    def base(self) -> Vector:
        return self.plain.flat(self.world.load(self.world.base))

    @property
    def rows(self) -> dict[str, dict[str, str]]:
        return {row["method"]: row for row in read_rows(self.folder / "compare.csv")}

    def result(self, name: str) -> dict[str, Any]:
        place = name if name not in DRAWN else f"{name}_seed_{SEED}"
        return dict(json.loads((self.folder / "results" / f"{place}.json").read_text()))

    def exported(self, name: str) -> Vector:
        """Return the weights of an exported model, as plain `transformers` loads it."""
        return self.plain.flat(self.world.load(self.folder / self.result(name)["adapter"]))

    def tensors(self, *vectors: Vector) -> list[list[Vector]]:
        """Cut vectors into the model's tensors: for every tensor, that of every vector."""
        ends = np.cumsum([parameter.numel() for parameter in self.plain.parameters.values()])[:-1]
        return [list(parts) for parts in zip(*(np.split(vector, ends) for vector in vectors), strict=True)]


@pytest.fixture(scope="module")
def full_world(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FullWorld:
    """Four copies of a model with other numbers, as is the base they are said to come from, and a model of all data.

    The copies' differences from this base have the base's own difference from the model in common, and point a little
    the same way.
    """
    folder = tmp_path_factory.mktemp("full")
    model = make_base(tiny_base_folder, "llama")
    experts = save_copies(model, tiny_base_folder, folder / "experts")
    for name, seed in (("base", 8), ("everything", 9)):
        perturbed(model, seed, noise=0.4).save_pretrained(folder / name)
        copy_tokenizer(tiny_base_folder, folder / name)
    return FullWorld(folder / "base", experts, write_dataset(folder / "sums.json"))


def config_of(world: FullWorld, root: Path, base: str | None = None, **compare: Any) -> dict[str, Any]:
    objective = {"class_path": "tests.baselines.counting.CountingMatch"}
    config = world.config(root, model={"objective": objective, "base": base}, trainer={"max_steps": 2})
    return {**config, "compare": {"seeds": [SEED], "resamples": 200, **compare}}


@pytest.fixture(scope="module")
def compared(full_world: FullWorld, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    root = tmp_path_factory.mktemp("compared")
    everything = str(full_world.base.parent / "everything")
    config = config_of(full_world, root / "runs", str(full_world.base), data_merge=everything)
    before = asked()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(evogm, "EPOCHS", 5)
        printed = run_swarm(config, "compare", root)
    plain = PlainTransformers(full_world)
    return Compared(full_world, plain, root / "runs" / "version_0", printed, asked() - before)


def test_all_methods_but_mixtures_and_products_have_a_row_and_those_say_why(compared: Compared) -> None:
    absent = {name: row["absent"] for name, row in compared.rows.items() if row["absent"]}
    products = {"product_mean", "product_soup", "regression_mean", "evolution_strategy", "learned_coefficients"}
    trained = {"fine_tuning_zero", "fine_tuning_expert", "fine_tuning_mean"}
    assert set(absent) == {"cbtm", "pack_of_llms", *products, *trained} | missing()
    for name in trained:
        assert absent[name] == "it trains an adapter of the experts' form, and they are full checkpoints"
    for name in ("cbtm", "pack_of_llms"):
        assert "full checkpoints take turns in the resident model" in absent[name]
    for name, same in (("product_mean", "uniform soup"), ("product_soup", "greedy soup")):
        assert absent[name].endswith(f"their weights themselves are added, as in the {same}")
    assert compared.rows["prediction_merge"]["detail"].startswith("4 experts vote")


def test_all_evaluations_are_accounted_for(compared: Compared) -> None:
    results = [json.loads(path.read_text()) for path in (compared.folder / "results").iterdir()]
    tests = sum(len(result["test"]) * (4 if result["method"] == "prediction_merge" else 1) for result in results)
    assert compared.asked == sum(result["evaluations"] for result in results) + tests


@pytest.mark.parametrize("name", [*FIXED, *DRAWN, "base_model"])
def test_scores_are_those_that_plain_transformers_finds_for_what_was_exported(compared: Compared, name: str) -> None:
    need(name)
    result = compared.result(name)
    world = compared.world
    model = world.load(world.base if name == "base_model" else compared.folder / result["adapter"])
    validation = world.score(world.replies(model, "dev"), "dev")
    assert result["validation"] == pytest.approx(sum(validation) / len(validation))
    assert result["test"] == world.score(world.replies(model, "test"), "test")


def test_an_exported_model_has_a_card_of_a_whole_model(compared: Compared) -> None:
    card = (compared.folder / "models" / "ties" / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "A full checkpoint of the architecture of base" in card
    assert "# TIES" in card
    assert "peft" not in card.lower()


def test_soups_are_means_of_all_weights(compared: Compared) -> None:
    np.testing.assert_allclose(compared.exported("uniform_soup"), np.mean(compared.plain.start, axis=0), atol=1e-6)
    chosen = compared.result("greedy_soup")["detail"].removeprefix("mean of ").split(", ")
    soup = np.mean([compared.plain.start[NAMES.index(name)] for name in chosen], axis=0)
    np.testing.assert_allclose(compared.exported("greedy_soup"), soup, atol=1e-6)


def test_slerp_goes_along_the_arc_between_the_weights_themselves(compared: Compared) -> None:
    names, t = compared.result("slerp")["detail"].split(", t = ")
    ends = [compared.plain.start[NAMES.index(name)] for name in names.split(" to ")]
    share = float(t)
    for first, second, found in compared.tensors(*ends, compared.exported("slerp")):
        cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
        weights = np.array([1 - share, share])
        if abs(cosine) < 0.9995:
            angle = np.arccos(cosine)
            weights = np.sin(weights * angle) / np.sin(angle)
        np.testing.assert_allclose(found, weights[0] * first + weights[1] * second, atol=1e-5)


def test_task_arithmetic_adds_the_sum_of_all_differences_to_the_base(compared: Compared) -> None:
    scale = float(compared.result("task_arithmetic")["detail"].removeprefix("scale "))
    added = sum(vector - compared.base for vector in compared.plain.start)
    np.testing.assert_allclose(compared.exported("task_arithmetic"), compared.base + scale * added, atol=1e-5)


def differences(compared: Compared, name: str) -> list[tuple[np.ndarray[Any, Any], Vector]]:
    """Return for every tensor what the experts add to the base [n, weights], and what a composition does."""
    base = compared.base
    moved = [vector - base for vector in (*compared.plain.start, compared.exported(name))]
    return [(np.stack(parts[:-1]), parts[-1]) for parts in compared.tensors(*moved)]


def elect(kept: np.ndarray[Any, Any]) -> Vector:
    """Return the mean of those that have the sign of the sum, place by place."""
    agree = np.sign(kept) == np.where(kept.sum(axis=0) >= 0, 1, -1)
    return (kept * agree).sum(axis=0) / np.maximum(agree.sum(axis=0), 1)


def test_ties_trims_and_elects_what_experts_add_to_the_base(compared: Compared) -> None:
    for experts, found in differences(compared, "ties"):
        count = int(DENSITY * experts.shape[1])
        ranks = np.argsort(np.argsort(-np.abs(experts), axis=1), axis=1)
        np.testing.assert_allclose(found, elect(np.where(ranks < count, experts, 0)), atol=1e-5)


def test_dare_ties_drops_and_rescales_what_experts_add_to_the_base(compared: Compared) -> None:
    # Which weights were dropped is drawn: every place must hold what one of the 2^4 draws makes of it.
    for experts, found in differences(compared, "dare_ties"):
        draws = [np.array(draw)[:, None] for draw in itertools.product([0, 1], repeat=len(experts))]
        possible = np.stack([elect(experts * draw / DENSITY) for draw in draws])
        assert np.abs(possible - found).min(axis=0).max() < 1e-5
        if np.abs(experts).max() > 0 and len(found) > 500:
            assert 0.01 < (np.abs(found) < 1e-6).mean() < 0.15  # 1 in 16: all four dropped


def test_model_stock_goes_from_the_base_as_far_as_the_angles_say(compared: Compared) -> None:
    ratios = []
    for experts, found in differences(compared, "model_stock"):
        lengths = np.linalg.norm(experts, axis=1)
        if not lengths.any():  # all experts have the base's norms
            assert np.abs(found).max() < 1e-6
            continue
        cosines = experts @ experts.T / np.outer(lengths, lengths)
        cosine = max((cosines.sum() - 4) / 12, 0)
        ratios.append(4 * cosine / (1 + 3 * cosine))
        np.testing.assert_allclose(found, ratios[-1] * experts.mean(axis=0), atol=1e-5)
    assert max(ratios) > 0.5, "a merge that stays at the base proves nothing"
    assert compared.result("model_stock")["detail"] == f"t = {np.mean(ratios):.2f} on average"


@pytest.mark.parametrize("name", ["lorahub", "evolmerge", "evogm"])
def test_coefficients_weigh_what_experts_add_to_the_base(compared: Compared, name: str) -> None:
    need(name)
    experts, found = (np.concatenate(parts, axis=-1) for parts in zip(*differences(compared, name), strict=True))
    weights, *_ = np.linalg.lstsq(experts.T, found, rcond=None)
    np.testing.assert_allclose(weights @ experts, found, atol=1e-5)
    named = compared.result(name)["detail"].split(": ")[-1].split(", ")
    assert weights == pytest.approx([float(text.split()[-1]) for text in named], abs=0.006)


def test_random_combinations_keep_the_sum_of_the_weights(compared: Compared) -> None:
    experts, found = np.stack(compared.plain.start), compared.exported("random_search")
    weights, *_ = np.linalg.lstsq(experts.T, found, rcond=None)
    np.testing.assert_allclose(weights @ experts, found, atol=1e-5)
    assert weights.sum() == pytest.approx(1, abs=1e-5)


def test_without_a_base_what_works_on_differences_is_absent_and_nothing_need_be_exported(
    full_world: FullWorld, tiny_experts_folder: Path, tmp_path: Path
) -> None:
    differing = ["task_arithmetic", "ties", "dare_ties", "model_stock", "pso_merging", "evogm"]
    differing += sorted({"lorahub", "evolmerge"} - missing())
    compare: dict[str, Any] = {
        "methods": [*differing, "base_model", "data_merge", "uniform_soup"],
        "evaluations": 100,
        "export": False,
    }
    adapter = str(tiny_experts_folder / "towns")
    run_swarm(config_of(full_world, tmp_path / "runs", data_merge=adapter, **compare), "compare", tmp_path)
    folder = tmp_path / "runs" / "version_0"
    absent = {row["method"]: row["absent"] for row in read_rows(folder / "compare.csv")}
    for name in differing:
        assert absent[name].startswith("it works on the experts' differences from their base")
    assert absent["base_model"].endswith("full checkpoints without one: name it in model.base")
    assert f"{adapter!r} is a LoRA adapter" in absent["data_merge"]
    assert not absent["uniform_soup"]
    assert json.loads((folder / "results" / "uniform_soup.json").read_text())["adapter"] is None
    assert not (folder / "models").exists()


def test_a_data_merge_of_another_architecture_is_refused(
    full_world: FullWorld, tiny_base_folder: Path, tmp_path: Path
) -> None:
    pool = load_experts(str(full_world.experts))
    make_base(tiny_base_folder, "gpt2").save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="'other' is a GPT2LMHeadModel"):
        read_merge(str(tmp_path / "other"), pool)
    for name in ("one", "two"):
        shutil.copytree(full_world.base, tmp_path / "several" / name)
    with pytest.raises(InputError, match="holds 2 models, but one is wanted"):
        read_merge(str(tmp_path / "several"), pool)


def test_a_swarm_on_the_disk_is_refused_before_anything_is_written(
    full_world: FullWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(full_world, tmp_path / "runs")
    with pytest.raises(SystemExit) as ended:
        run_swarm(config, "compare", tmp_path, "--model.storage", "disk")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "Expected model.storage to be memory to compare methods" in said
    assert "if that holds about 21 copies of an expert" in said  # 3 x 5 + 2 rows of the swarm, and the experts
    assert not (tmp_path / "runs").exists()
