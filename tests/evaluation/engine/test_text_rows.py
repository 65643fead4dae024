"""Rows of many particles as objectives see them; the reference is plain peft, prompt by prompt."""

from typing import TYPE_CHECKING

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.engine.crowd import common_prefix
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.objectives.protocol import GenerationSettings, LanguageModel
from tests.evaluation.plain_peft import PlainPeft
from tests.evaluation.resident_rows import OWNERS, forward_hook, rows_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@pytest.fixture(scope="module")
def prompts(many_prompts: list[str]) -> list[str]:
    return many_prompts[: len(OWNERS)]


@pytest.mark.smoke
@pytest.mark.parametrize("particles", [None, 1, 3])
@pytest.mark.parametrize("rows", [None, 1, 3, 64])
def test_every_row_is_answered_by_its_particle_again_and_again(
    rows: int | None,
    particles: int | None,
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    plain: PlainPeft,
    prompts: list[str],
) -> None:
    engine = Engine(adapted, tiny_tokenizer, EngineSettings(rows=rows, particles=particles))
    model: LanguageModel = rows_of(engine, pool)
    replies = [plain.reply(owner, prompt, 6) for owner, prompt in zip(OWNERS, prompts, strict=True)]
    choices = [[" A", " red fox"]] * len(prompts)
    numbers = [
        [plain.loglikelihood(owner, prompt, text) for text in (" A", " red fox")]
        for owner, prompt in zip(OWNERS, prompts, strict=True)
    ]
    shapes: list[int] = []
    with forward_hook(adapted, lambda ids: shapes.append(len(ids))):
        for _ in range(2):
            assert model.generate(prompts, GenerationSettings(6)) == replies
            for row, expected in zip(model.loglikelihood(prompts, choices), numbers, strict=True):
                assert [one.logarithm for one in row] == pytest.approx([number for number, _ in expected], rel=1e-5)
                assert [one.tokens for one in row] == [tokens for _, tokens in expected]
                assert [one.characters for one in row] == [1, 7]
    assert max(shapes) <= (rows or 256)


def test_generated_tokens_are_counted(engine: Engine, pool: ExpertPool, plain: PlainPeft, prompts: list[str]) -> None:
    lengths = [len(plain.reply_ids(owner, plain.ids(prompt), 6)) for owner, prompt in zip(OWNERS, prompts, strict=True)]
    rows_of(engine, pool).generate(prompts, GenerationSettings(6))
    assert engine.generated == sum(min(length + 1, 6) for length in lengths)


def test_a_reply_is_cut_before_the_first_stop_string(
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    plain: PlainPeft,
    many_prompts: list[str],
) -> None:
    owners = [place % 4 for place in range(len(many_prompts[:32]))]
    whole = [plain.reply(owner, prompt, 12) for owner, prompt in zip(owners, many_prompts, strict=False)]
    longest = max(whole, key=len)
    stop = (longest[2:4], longest[5:6], "never said by anyone")
    expected = [min((text.split(string)[0] for string in stop), key=len) for text in whole]
    assert expected != whole
    for rows in (1, 7, 64):
        engine = Engine(adapted, tiny_tokenizer, EngineSettings(rows=rows))
        assert rows_of(engine, pool, owners).generate(many_prompts[:32], GenerationSettings(12, stop)) == expected


def test_a_pass_is_made_for_every_token_up_to_the_stop_string_and_no_more(
    engine: Engine, adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, many_prompts: list[str]
) -> None:
    prompt = next(prompt for prompt in many_prompts if len(plain.reply_ids(1, plain.ids(prompt), 8)) == 8)
    stop = plain.reply(1, prompt, 3)
    passes: list[int] = []
    with forward_hook(adapted, lambda ids: passes.append(len(ids))):
        assert rows_of(engine, pool, [1]).generate([prompt], GenerationSettings(300, (stop,))) == [""]
    assert passes == [1, 1, 1]


@pytest.mark.parametrize("row_stops", [True, False])
def test_a_reply_whose_score_is_settled_ends_unless_whole_ones_are_wanted(
    row_stops: bool,
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    plain: PlainPeft,
    prompts: list[str],
) -> None:
    engine = Engine(adapted, tiny_tokenizer, EngineSettings(row_stops=row_stops))
    whole = [plain.reply(owner, prompt, 12) for owner, prompt in zip(OWNERS, prompts, strict=True)]
    texts: dict[int, list[str]] = {}

    def decided(row: int, text: str) -> bool:
        texts.setdefault(row, []).append(text)
        return len(text) > row % 3

    settings = GenerationSettings(12)
    assert rows_of(engine, pool, whole=True).generate(prompts, settings, decided=decided) == whole
    assert texts == {}
    before = engine.generated
    found = rows_of(engine, pool).generate(prompts, settings, decided=decided)
    if not row_stops:
        assert found == whole
        return
    assert found != whole
    assert engine.generated - before < before
    for row, (text, reply) in enumerate(zip(found, whole, strict=True)):
        assert reply.startswith(text.rstrip("\ufffd"))
        assert all(reply.startswith(seen) for seen in texts.get(row, []))
        assert text == reply or len(text) > row % 3


def test_every_end_of_text_of_the_model_ends_a_reply(
    engine: Engine,
    adapted: AdaptedModel,
    pool: ExpertPool,
    plain: PlainPeft,
    monkeypatch: pytest.MonkeyPatch,
    prompts: list[str],
) -> None:
    before = [plain.reply_ids(owner, plain.ids(prompt), 6) for owner, prompt in zip(OWNERS, prompts, strict=True)]
    end = next(tokens[2] for tokens in before if len(tokens) == 6 and tokens[2] not in tokens[:2])
    expected = [tokens[: tokens.index(end)] if end in tokens else tokens for tokens in before]
    monkeypatch.setattr(adapted.model.generation_config, "eos_token_id", [engine.tokenizer.eos_token_id, end])
    texts = engine.tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert rows_of(engine, pool).generate(prompts, GenerationSettings(6)) == texts


@pytest.mark.smoke
def test_a_shared_prefix_changes_no_answer_and_saves_tokens(
    engine: Engine, adapted: AdaptedModel, pool: ExpertPool, plain: PlainPeft, prompts: list[str]
) -> None:
    shown = [f"Tell me a story about a fox and a bear.\n{prompt}" for prompt in prompts]
    prefix = common_prefix([plain.ids(prompt) for prompt in shown])
    assert len(prefix) >= 16
    replies = [plain.reply(owner, prompt, 6) for owner, prompt in zip(OWNERS, shown, strict=True)]
    likely = [[plain.loglikelihood(owner, prompt, " A")[0]] for owner, prompt in zip(OWNERS, shown, strict=True)]
    fed = {}
    for given in ((), prefix):
        sizes: list[int] = []
        with forward_hook(adapted, lambda ids, sizes=sizes: sizes.append(ids.numel())):
            model = rows_of(engine, pool, prefix=given)
            assert model.generate(shown, GenerationSettings(6)) == replies
            found = model.loglikelihood(shown, [[" A"]] * len(shown))
        assert [row[0].logarithm for row in found] == pytest.approx([row[0] for row in likely], rel=1e-5)
        fed[bool(given)] = sum(sizes)
    # Replies: computed for 4 particles instead of 8 rows; likelihoods: it is there already.
    assert fed[False] - fed[True] >= (8 - 4 + 8) * len(prefix)


def test_a_call_whose_prompts_do_not_begin_with_the_prefix_does_without(
    engine: Engine, pool: ExpertPool, plain: PlainPeft, prompts: list[str]
) -> None:
    prefix = plain.ids("Tell me a story about a fox and a bear.")
    model = rows_of(engine, pool, prefix=prefix)
    mixed = [f"Tell me a story about a fox and a bear.{prompt}" for prompt in prompts[:-1]] + prompts[-1:]
    expected = [plain.reply(owner, prompt, 6) for owner, prompt in zip(OWNERS, mixed, strict=True)]
    assert model.generate(mixed, GenerationSettings(6)) == expected
    (*_, last) = model.loglikelihood(mixed, [[" A"]] * len(mixed))
    assert last[0].logarithm == pytest.approx(plain.loglikelihood(OWNERS[-1], mixed[-1], " A")[0], rel=1e-5)


def test_a_chat_prompt_gets_no_second_beginning_of_text(engine: Engine, pool: ExpertPool) -> None:
    model = rows_of(engine, pool, [2])
    (with_begin,) = model.loglikelihood(["fox"], [[" a"]])
    assert model.loglikelihood(["<s>fox"], [[" a"]], add_special_tokens=False) == [with_begin]
    settings = GenerationSettings(5)
    assert model.generate(["<s>fox"], settings, add_special_tokens=False) == model.generate(["fox"], settings)


def test_an_empty_prompt_is_replied_to_from_the_beginning_of_a_text(engine: Engine, pool: ExpertPool) -> None:
    settings = GenerationSettings(5)
    replies = rows_of(engine, pool, [1, 1]).generate(["", "fox"], settings, add_special_tokens=False)
    assert replies[:1] == rows_of(engine, pool, [1]).generate(["<s>"], settings, add_special_tokens=False)


def test_no_prompts_give_no_answers(engine: Engine, pool: ExpertPool) -> None:
    assert rows_of(engine, pool, []).generate([], GenerationSettings()) == []
    assert rows_of(engine, pool, []).loglikelihood([], []) == []
    assert rows_of(engine, pool, [0]).loglikelihood(["fox"], [[]]) == [[]]


def test_one_prompt_is_expected_for_every_row(engine: Engine, pool: ExpertPool) -> None:
    with pytest.raises(InputError, match="each of the 8 examples of the call, but the objective gave 1"):
        rows_of(engine, pool).generate(["fox"], GenerationSettings())
    with pytest.raises(InputError, match="gave 2"):
        rows_of(engine, pool).loglikelihood(["fox", "bear"], [[" a"], [" b"]])


def test_what_does_not_fit_the_model_is_refused_before_any_reply(
    engine: Engine, pool: ExpertPool, adapted: AdaptedModel
) -> None:
    passes: list[int] = []
    with forward_hook(adapted, lambda ids: passes.append(len(ids))):
        with pytest.raises(InputError, match="prompt 1 has"):
            rows_of(engine, pool, [0, 1]).generate(["fox", "fox " * 600], GenerationSettings(10))
        with pytest.raises(InputError, match="at most 512 tokens"):
            rows_of(engine, pool, [0]).loglikelihood(["fox " * 600], [[" a"]])
        with pytest.raises(InputError, match="at most 1 tokens"):
            rows_of(engine, pool, [0]).generate(["f"], GenerationSettings(511))
    assert passes == []


def test_a_prompt_and_reply_that_just_fit_are_served(engine: Engine, pool: ExpertPool) -> None:
    assert len(rows_of(engine, pool, [0]).generate(["f"], GenerationSettings(510))) == 1  # and <s>, and one byte
