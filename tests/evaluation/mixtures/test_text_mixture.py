"""Mixtures by texts: of one vocabulary they agree with those by tokens; of several, with plain models asked alone."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.runner import Loaded
from swarm_lightning.evaluation.runners.token_swarm import TokenSwarmRunner
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.model_pool import load_models
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.experts.tokenizers.vocabularies import token_bytes
from swarm_lightning.objectives.protocol import GenerationSettings
from swarm_lightning.paths import locate
from tests.evaluation.any_models import plain_model, save_families

PROMPTS = ["Question: Which fox?\nAnswer:", "user: What is 12 plus 7?\nassistant:"]
CHOICES = ["A", "B", " Paris is the capital"]
NUMBERS = [[0.7, 0.3], [0.2, 0.8], [0.0, 1.0]]


@pytest.fixture(scope="module")
def folder(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_families(tiny_base_folder, tmp_path_factory.mktemp("families"), ("gpt2", "opt"))


def runner_of(sources: list[str], mixture: Any = "probabilities", by_texts: bool = False) -> TokenSwarmRunner:
    pool = load_models(sources, None, mixture)
    model, tokenizer = load_base(pool.base)
    loaded = Loaded(pool.resident(model, pool.base), tokenizer, EngineSettings(), pool, pool.base, False)
    return TokenSwarmRunner(loaded, mixture, by_texts)


@pytest.fixture(scope="module")
def different(folder: Path) -> TokenSwarmRunner:
    """A byte-level BPE on GPT-2, and whole words on Llama."""
    return runner_of([str(folder / "gpt2"), "demo:base"])


def rows_of(runner: TokenSwarmRunner, numbers: list[list[float]], seed: int = 0) -> Any:
    examples = tuple(Example(prompt) for prompt in PROMPTS) * len(numbers)
    owners = [mixture for mixture in range(len(numbers)) for _ in PROMPTS]
    with runner.session(torch.tensor(numbers), {}) as session:
        return session.rows(owners, examples, RowNoise(seed, tuple(owners), examples), True)


@pytest.mark.parametrize("mixture", ["probabilities", "log_probabilities"])
def test_with_one_vocabulary_both_ways_agree_where_they_should(folder: Path, mixture: Any) -> None:
    sources = [str(folder / "gpt2"), str(folder / "opt")]
    tokens, texts = runner_of(sources, mixture), runner_of(sources, mixture, by_texts=True)
    assert (tokens.one_vocabulary, texts.one_vocabulary) == (True, False)
    settings, count = GenerationSettings(8), len(NUMBERS)
    replies = rows_of(tokens, NUMBERS).generate(PROMPTS * count, settings)
    assert rows_of(texts, NUMBERS).generate(PROMPTS * count, settings) == replies
    assert len(set(replies)) > 3
    by_tokens, by_texts = (
        rows_of(runner, NUMBERS).loglikelihood(PROMPTS * count, [CHOICES] * 2 * count) for runner in (tokens, texts)
    )
    for row, (one, other) in enumerate(zip(by_tokens, by_texts, strict=True)):
        # An expert alone is itself whatever the text; of texts of one token, all mixtures agree but for what a sum of
        # logarithms is normalised by, which is the same for all texts behind a prompt.
        alone = row >= 2 * (count - 1)
        shift = 0.0 if mixture == "probabilities" or alone else one[0].logarithm - other[0].logarithm
        assert [likelihood.tokens for likelihood in one[:2]] == [1, 1]
        for first, second in list(zip(one, other, strict=True))[: None if alone else 2]:
            assert first.logarithm == pytest.approx(second.logarithm + shift, abs=1e-4)
            assert first.tokens == second.tokens
            assert first.greedy == second.greedy or not alone


def total_by_hand(model: Any, tokenizer: Any, prompt: str, text: str) -> float:
    before, ids = (tokenizer(one)["input_ids"] for one in (prompt, prompt + text))
    with torch.no_grad():
        logarithms = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(logarithms[place - 1, ids[place]]) for place in range(len(before), len(ids)))


def test_likelihoods_of_different_vocabularies_are_means_over_whole_texts(
    different: TokenSwarmRunner, folder: Path
) -> None:
    assert not different.one_vocabulary
    plain = [(plain_model(folder / "gpt2"), different.shelf.groups[0].tokenizer)]
    plain.append((plain_model(Path(locate("demo:base"))), different.shelf.groups[1].tokenizer))
    found = rows_of(different, NUMBERS).loglikelihood(PROMPTS * 3, [CHOICES] * 6)
    for row, numbers in enumerate(NUMBERS):
        for place, prompt in enumerate(PROMPTS):
            for choice, likelihood in zip(CHOICES, found[2 * row + place], strict=True):
                totals = [total_by_hand(model, tokenizer, prompt, choice) for model, tokenizer in plain]
                mean = sum(number * math.exp(total) for number, total in zip(numbers, totals, strict=True))
                assert likelihood.logarithm == pytest.approx(math.log(mean), abs=1e-4)
                assert likelihood.tokens == len(plain[0][1](prompt + choice)["input_ids"]) - len(
                    plain[0][1](prompt)["input_ids"]
                )


def step_by_hand(plain: list[tuple[Any, Any]], read: list[list[int]], numbers: list[float]) -> bytes:
    """Match the ten likeliest tokens of two models by their bytes, in the plainest way; the end is no bytes."""
    said: list[Tensor] = []
    for (model, _), ids in zip(plain, read, strict=True):
        with torch.no_grad():
            said.append(model(torch.tensor([ids])).logits[0, -1].double().softmax(-1))
    tables = [token_bytes(tokenizer, "a model") for _, tokenizer in plain]
    candidates = {
        piece
        for one, table in zip(said, tables, strict=True)
        for index in one.topk(10).indices.tolist()
        if (piece := table[index])
    }

    def score(piece: bytes) -> float:
        total = 0.0
        for number, one, table, (_, tokenizer) in zip(numbers, said, tables, plain, strict=True):
            index = tokenizer.eos_token_id if not piece else spelled(piece, table)[0]
            total += number * float(one[index])
        return total

    return max([b"", *sorted(candidates)], key=score)


def spelled(piece: bytes, table: list[bytes | None]) -> list[int]:
    if piece in table:
        return [table.index(piece)]
    longest = max((one for one in table if one and piece.startswith(one)), key=len)
    return [table.index(longest), *(spelled(piece[len(longest) :], table) if piece != longest else [])]


def test_replies_of_different_vocabularies_are_those_of_matching_by_hand(
    different: TokenSwarmRunner, folder: Path
) -> None:
    tokenizers = [group.tokenizer for group in different.shelf.groups]
    plain = list(zip([plain_model(folder / "gpt2"), plain_model(Path(locate("demo:base")))], tokenizers, strict=True))
    found = rows_of(different, NUMBERS[:2]).generate(PROMPTS * 2, GenerationSettings(5))
    expected = []
    for numbers in NUMBERS[:2]:
        for prompt in PROMPTS:
            read = [list(tokenizer(prompt)["input_ids"]) for tokenizer in tokenizers]
            reply = b""
            for _ in range(5):
                piece = step_by_hand(plain, read, numbers)
                if not piece:
                    break
                reply += piece
                for ids, tokenizer in zip(read, tokenizers, strict=True):
                    ids += spelled(piece, token_bytes(tokenizer, "a model"))
            expected.append(reply.decode("utf-8", "replace"))
    assert found == expected
    assert len(set(found)) > 1


def test_replies_stop_where_they_should_and_are_drawn_by_their_own_noise(different: TokenSwarmRunner) -> None:
    whole = rows_of(different, NUMBERS[:1]).generate(PROMPTS, GenerationSettings(6))
    place = max(range(2), key=lambda row: len(whole[row]))
    stop = whole[place][1:3]
    cut = rows_of(different, NUMBERS[:1]).generate(PROMPTS, GenerationSettings(6, stop=(stop,)))
    assert cut[place] == whole[place][: whole[place].index(stop)]
    settings = GenerationSettings(6, temperature=1.0)
    drawn = rows_of(different, NUMBERS, seed=1).generate(PROMPTS * 3, settings)
    assert drawn == rows_of(different, NUMBERS, seed=1).generate(PROMPTS * 3, settings)
    assert drawn != rows_of(different, NUMBERS, seed=2).generate(PROMPTS * 3, settings)


def test_a_sum_of_logarithms_of_a_text_by_itself_is_refused(folder: Path) -> None:
    runner = runner_of([str(folder / "gpt2"), "demo:base"], "log_probabilities")
    with pytest.raises(InputError, match="Set it to probabilities"):
        rows_of(runner, NUMBERS[:1]).loglikelihood(PROMPTS, [[" A"]] * 2)


def test_prompts_are_as_long_as_the_model_with_the_least_room_finds_them(different: TokenSwarmRunner) -> None:
    # 256 positions both: the byte-level BPE takes more tokens of these words than the whole words do, or as many.
    first, second = ([len(ids) for ids in group.tokenizer(PROMPTS)["input_ids"]] for group in different.shelf.groups)
    assert different.positions == 256
    assert different.lengths(PROMPTS) == [max(pair) for pair in zip(first, second, strict=True)]
    long = "fox " * 400
    with pytest.raises(InputError, match="positions"):
        rows_of(different, NUMBERS[:1]).generate([long, long], GenerationSettings(6))
