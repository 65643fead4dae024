"""Mixtures of any models of one vocabulary, against a plain loop over models that `transformers` has loaded."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.mixtures.mixed_model import MixedModel
from swarm_lightning.evaluation.mixtures.model_groups import ModelGroup
from swarm_lightning.evaluation.runner import Loaded
from swarm_lightning.evaluation.runners.token_swarm import TokenSwarmRunner
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.model_pool import ModelPool, load_models
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.objectives.protocol import GenerationSettings
from tests.evaluation.any_models import FAMILIES, mixed_by_hand, plain_model, reply_by_hand, save_families

PROMPTS = ["Question: Which fox?\nAnswer:", "user: What is 12 plus 7?\nassistant:", "Question: Which of these?"]
CHOICES = [" A", " B", " Paris is the capital"]
NUMBERS = {
    "probabilities": [[0.5, 0.3, 0.2], [1.4, -0.4, 0.0], [0.0, 0.0, 1.0]],
    "log_probabilities": [[0.5, 0.3, 0.2], [1.4, -0.4, 0.0], [0.0, 0.0, 1.0]],
}


@pytest.fixture(scope="module")
def folder(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_families(tiny_base_folder, tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="module")
def models(folder: Path) -> list[Any]:
    return [plain_model(folder / family) for family in FAMILIES]


def runner_of(folder: Path, mixture: Any = "probabilities", **settings: Any) -> TokenSwarmRunner:
    pool = load_models(str(folder), None, mixture)
    model, tokenizer = load_base(pool.base)
    engine = EngineSettings(**settings)
    return TokenSwarmRunner(Loaded(pool.resident(model, pool.base), tokenizer, engine, pool, pool.base, False), mixture)


@pytest.fixture(scope="module", params=["probabilities", "log_probabilities"])
def runner(folder: Path, request: pytest.FixtureRequest) -> TokenSwarmRunner:
    return runner_of(folder, request.param)


def model_of(group: ModelGroup) -> Any:
    assert group.engine is not None
    return group.engine.adapted.model


def rows_of(runner: TokenSwarmRunner, numbers: Tensor, seed: int = 0) -> Any:
    """Lend every mixture for every prompt, mixture by mixture."""
    count = len(numbers)
    examples = tuple(Example(prompt) for prompt in PROMPTS) * count
    owners = [mixture for mixture in range(count) for _ in PROMPTS]
    with runner.session(numbers, {}) as session:
        return session.rows(owners, examples, RowNoise(seed, tuple(owners), examples), True)


@pytest.mark.smoke
def test_replies_of_many_mixtures_are_those_of_a_loop_over_plain_models(
    runner: TokenSwarmRunner, models: list[Any]
) -> None:
    numbers = NUMBERS[runner.mixture]
    found = rows_of(runner, torch.tensor(numbers)).generate(PROMPTS * len(numbers), GenerationSettings(8))
    expected = [
        reply_by_hand(models, runner.tokenizer, prompt, mixture, runner.mixture, 8)
        for mixture in numbers
        for prompt in PROMPTS
    ]
    assert found == expected
    assert len(set(found)) > 4


def test_likelihoods_are_those_of_a_loop_over_plain_models(runner: TokenSwarmRunner, models: list[Any]) -> None:
    numbers = NUMBERS[runner.mixture]
    found = rows_of(runner, torch.tensor(numbers)).loglikelihood(PROMPTS * len(numbers), [CHOICES] * 3 * len(numbers))
    pairs = [(mixture, prompt) for mixture in numbers for prompt in PROMPTS]
    greedy = []
    for (mixture, prompt), row in zip(pairs, found, strict=True):
        for choice, likelihood in zip(CHOICES, row, strict=True):
            ids = runner.tokenizer(prompt + choice)["input_ids"]
            places = range(len(ids) - likelihood.tokens, len(ids))
            mixed = [mixed_by_hand(models, ids[:place], mixture, runner.mixture) for place in places]
            total = sum(float(one[ids[place]]) for one, place in zip(mixed, places, strict=True))
            assert likelihood.logarithm == pytest.approx(total, abs=2e-4)
            greedy.append(all(int(one.argmax()) == ids[place] for one, place in zip(mixed, places, strict=True)))
    assert [likelihood.greedy for row in found for likelihood in row] == greedy


def test_the_likeliest_token_of_a_mixture_is_known_from_what_is_kept(
    runner: TokenSwarmRunner, models: list[Any]
) -> None:
    mixture = NUMBERS[runner.mixture][0]
    ids = runner.tokenizer(PROMPTS[0])["input_ids"]
    token = int(mixed_by_hand(models, ids, mixture, runner.mixture).argmax())
    before, after = runner.tokenizer.batch_decode([ids, ids + [token]])
    text = after.removeprefix(before)
    rows = rows_of(runner, torch.tensor([mixture, NUMBERS[runner.mixture][2]]))
    found = rows.loglikelihood(PROMPTS * 2, [[text]] * 6)
    assert found[0][0].tokens == 1
    assert found[0][0].greedy


def test_likelihoods_are_asked_once_whatever_the_mixtures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = runner_of(folder)
    passes = []
    for group in runner.shelf.groups:
        model_of(group).register_forward_hook(lambda *_: passes.append(1))
    first = rows_of(runner, torch.eye(3)).loglikelihood(PROMPTS * 3, [CHOICES] * 9)
    asked = len(passes)
    again = rows_of(runner, torch.tensor(NUMBERS["probabilities"])).loglikelihood(PROMPTS * 3, [CHOICES] * 9)
    assert asked > 0
    assert len(passes) == asked
    assert again[6:] == first[6:]  # the same one-hot numbers


def test_replies_that_go_the_same_way_are_read_once(folder: Path) -> None:
    runner = runner_of(folder)
    rows = []
    for group in runner.shelf.groups:
        model_of(group).register_forward_pre_hook(
            lambda _, arguments, given: rows.append(len(given["input_ids"])), with_kwargs=True
        )
    numbers = torch.tensor([[0.5, 0.3, 0.2]])
    alone = rows_of(runner, numbers).generate(PROMPTS, GenerationSettings(6))
    one, rows[:] = sum(rows), []
    many = rows_of(runner, numbers.expand(5, -1)).generate(PROMPTS * 5, GenerationSettings(6))
    assert many == alone * 5
    assert sum(rows) == one


def test_sampled_replies_are_drawn_by_the_rows_own_noise(folder: Path, models: list[Any]) -> None:
    runner, settings = runner_of(folder), GenerationSettings(6, temperature=1.0)
    numbers = torch.tensor(NUMBERS["probabilities"])
    together = rows_of(runner, numbers, seed=3).generate(PROMPTS * 3, settings)
    assert together != rows_of(runner, numbers, seed=4).generate(PROMPTS * 3, settings)
    with runner.session(numbers, {}) as session:
        example = (Example(PROMPTS[1]),)
        alone = session.rows([1], example, RowNoise(3, (1,), example), True).generate(PROMPTS[1:2], settings)
    assert alone == together[4:5]


def test_models_that_take_turns_say_the_same(folder: Path) -> None:
    numbers = torch.tensor(NUMBERS["probabilities"])
    free, short = runner_of(folder), runner_of(folder, models=1)
    assert short.shelf.loads == 2
    for runner in (free, short):
        assert sum(group.engine is not None for group in runner.shelf.groups) == (3 if runner is free else 2)
    settings = GenerationSettings(4)
    asked = (PROMPTS * 3, [CHOICES] * 9)
    assert rows_of(short, numbers).generate(PROMPTS * 3, settings) == rows_of(free, numbers).generate(
        PROMPTS * 3, settings
    )
    found, expected = (rows_of(runner, numbers).loglikelihood(*asked) for runner in (short, free))
    assert [[one.logarithm for one in row] for row in found] == [[one.logarithm for one in row] for row in expected]
    assert short.shelf.loads > 2


def test_an_adapter_its_base_and_another_model_are_mixed_alike(
    folder: Path, tiny_base_folder: Path, tiny_experts_folder: Path
) -> None:
    from peft import PeftModel

    sources = [str(tiny_experts_folder / "towns"), str(tiny_base_folder), str(folder / "gpt2")]
    pool = load_models(sources, str(tiny_base_folder), "probabilities")
    model, tokenizer = load_base(str(tiny_base_folder))
    loaded = Loaded(pool.resident(model, sources[1]), tokenizer, EngineSettings(), pool, sources[1], False)
    mixed = MixedModel(TokenSwarmRunner(loaded, "probabilities"), pool.names, [0.6, 0.3, 0.1])
    plain = [
        PeftModel.from_pretrained(plain_model(tiny_base_folder), sources[0]).eval(),
        plain_model(tiny_base_folder),
        plain_model(folder / "gpt2"),
    ]
    expected = [reply_by_hand(plain, tokenizer, prompt, [0.6, 0.3, 0.1], "probabilities", 6) for prompt in PROMPTS]
    assert mixed.generate(PROMPTS, 6) == expected


def test_a_token_that_only_a_tokenizer_knows_is_none_of_the_vocabulary(folder: Path, tmp_path: Path) -> None:
    # Loaded as that of a Qwen2 model, the tokenizer gets one token more, which no model has a place for.
    further = {"intermediate_size": 64, "num_key_value_heads": 2}
    for name in ("qwen2", "another"):
        save_families(folder / "gpt2", tmp_path / name, ("qwen2",), **further)
    sources = [str(tmp_path / "qwen2" / "qwen2"), str(tmp_path / "another" / "qwen2"), str(folder / "gpt2")]
    numbers = [0.5, 0.3, 0.2]
    for some in (sources, sources[:2]):
        pool = load_models(some, None, "probabilities")
        model, tokenizer = load_base(pool.base)
        loaded = Loaded(pool.resident(model, pool.base), tokenizer, EngineSettings(), pool, pool.base, False)
        mixed = MixedModel(TokenSwarmRunner(loaded, "probabilities"), pool.names, numbers[: len(some)])
        assert len(tokenizer) == model.config.vocab_size + 1
        assert mixed.runner.one_vocabulary
        plain = [plain_model(Path(source)) for source in some]
        expected = [
            reply_by_hand(plain, tokenizer, prompt, numbers[: len(some)], "probabilities", 6) for prompt in PROMPTS
        ]
        assert mixed.generate(PROMPTS, 6) == expected


def test_numbers_of_other_experts_are_refused(folder: Path) -> None:
    runner = runner_of(folder)
    with pytest.raises(ValueError, match=r"Expected 3 mixing numbers of every candidate, but got \[1, 2\]"):
        rows_of(runner, torch.ones(1, 2))


def test_a_pool_knows_its_models(folder: Path) -> None:
    pool = load_models(str(folder), None, "probabilities")
    assert isinstance(pool, ModelPool)
    assert pool.names == tuple(sorted(FAMILIES))
    assert pool.vectors.equal(torch.eye(3))
