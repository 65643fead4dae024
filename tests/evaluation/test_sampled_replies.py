"""Sampled replies of particles; the reference draws every token of one row alone, from full passes of plain peft."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.engine.crowd import Crowd
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.engine.text_rows import TextRows
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.exact_stop import Stakes
from swarm_lightning.evaluation.runners.resident import Particles, ResidentRunner
from swarm_lightning.evaluation.sampling import BASE, RowNoise
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.objectives import (
    Abstention,
    ExactMatch,
    GenerationSettings,
    LanguageModel,
    MultiTask,
    Objective,
    Outcome,
)
from tests.evaluation.plain_peft import PlainPeft

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SEED = 1234
MASK = (1 << 64) - 1
WARM = GenerationSettings(8, temperature=0.9, top_p=0.95)


def fingerprint(example: Example) -> str:
    """The documented identity of an example: the content of its record."""
    content: list[object] = [example.question, example.answer, None, example.identifier, example.in_context_prompt, []]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def noise(particle: int, example: Example, turn: int, place: int) -> float:
    """One number of SplitMix64, in Python's own integers."""
    name = f"{SEED} {particle} {turn} {fingerprint(example)}"
    state = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    bits = (state + (place + 1) * 0x9E3779B97F4A7C15) & MASK
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & MASK
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & MASK
    return ((bits ^ bits >> 31) >> 11) / 2**53


def reference(
    plain: PlainPeft,
    expert: int | None,
    prompt: str,
    example: Example,
    settings: GenerationSettings,
    *,
    number: int | None = None,
    turn: int = 0,
) -> str:
    """Draw a reply token by token, with top-p as a walk down the sorted probabilities."""
    ids = plain.ids(prompt)
    reply: list[int] = []
    number = expert if number is None else number
    assert number is not None
    while len(reply) < settings.max_new_tokens:
        table = (plain.logits(expert, [*ids, *reply])[-1].double() / settings.temperature).softmax(dim=-1).tolist()
        kept, mass = set(), 0.0
        for token in sorted(range(len(table)), key=lambda token: -table[token])[: settings.top_k]:
            if mass < settings.top_p:
                kept.add(token)
                mass += table[token]
        left = noise(number, example, turn, len(reply)) * mass
        token = next(token for token in sorted(kept) if (left := left - table[token]) < 0)
        if token in plain.ends:
            break
        reply.append(token)
    return str(plain.tokenizer.decode(reply, skip_special_tokens=True))


@pytest.fixture(scope="module")
def examples(many_prompts: list[str]) -> list[Example]:
    return [Example(prompt, "e", identifier=str(place)) for place, prompt in enumerate(many_prompts[:12])]


def asking(settings: GenerationSettings) -> ExactMatch:
    """Every reply goes on to its end, and its text is the outcome."""
    return ExactMatch(
        "last_number",
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        template="{question}",
    )


def evaluator(
    adapted: AdaptedModel,
    tokenizer: "PreTrainedTokenizerBase",
    objective: object,
    settings: EngineSettings | None = None,
    seed: int = SEED,
) -> Evaluator:
    made = Evaluator(ResidentRunner(adapted, tokenizer, settings), objective)  # type: ignore[arg-type]
    made.seed = seed
    return made


def texts(found: Sequence[Sequence[Outcome | None]]) -> list[list[str]]:
    return [[outcome.reply if outcome else "" for outcome in row] for row in found]


@pytest.mark.smoke
@pytest.mark.parametrize(
    "settings", [WARM, GenerationSettings(8, temperature=1.5, top_k=20), GenerationSettings(8, temperature=0.3)]
)
def test_replies_are_those_of_a_row_drawn_alone(
    settings: GenerationSettings,
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    plain: PlainPeft,
    examples: list[Example],
) -> None:
    asked = examples[:6]
    expected = [[reference(plain, expert, one.question, one, settings) for one in asked] for expert in range(4)]
    greedy = [[plain.reply(expert, one.question, 8) for one in asked] for expert in range(4)]
    assert (
        sum(
            one != other
            for row, plainly in zip(expected, greedy, strict=True)
            for one, other in zip(row, plainly, strict=True)
        )
        > 12
    )
    made = evaluator(adapted, tiny_tokenizer, asking(settings))
    assert texts(made.evaluate(pool.vectors, asked, whole_replies=True).outcomes) == expected


@pytest.mark.parametrize(
    "settings",
    [
        EngineSettings(rows=1),
        EngineSettings(rows=3, particles=2),
        EngineSettings(rows=64, particles=1, shared_prefix=False),
        EngineSettings(rows=7, lots=1),
        EngineSettings(rows=2, lots=4),
    ],
    ids=str,
)
def test_replies_do_not_depend_on_what_shares_a_pass(
    settings: EngineSettings,
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    examples: list[Example],
) -> None:
    in_context = [
        Example(one.question, "e", in_context_prompt="Tell me a story about a fox and a bear.") for one in examples
    ]
    whole = evaluator(adapted, tiny_tokenizer, asking(WARM)).evaluate(pool.vectors, in_context, whole_replies=True)
    made = evaluator(adapted, tiny_tokenizer, asking(WARM), settings)
    expected = texts(whole.outcomes)
    assert len({reply for row in expected for reply in row}) > 40
    assert texts(made.evaluate(pool.vectors, in_context, whole_replies=True).outcomes) == expected
    # In another order, without some, of some particles only, and again.
    backwards = made.evaluate(pool.vectors, in_context[:2:-1], torch.tensor([True, False, True, True]), None, True)
    assert texts(backwards.outcomes) == [row[:2:-1] if place != 1 else [""] * 9 for place, row in enumerate(expected)]


def test_another_seed_and_another_particle_draw_differently(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, examples: list[Example]
) -> None:
    vectors = pool.vectors[[2, 2, 2]]
    one = texts(evaluator(adapted, tiny_tokenizer, asking(WARM)).evaluate(vectors, examples, None, None, True).outcomes)
    other = evaluator(adapted, tiny_tokenizer, asking(WARM), seed=SEED + 1)
    assert sum(a == b for a, b in zip(one[0], one[1], strict=True)) < 6
    assert sum(a == b for a, b in zip(one[0], texts(other.evaluate(vectors, examples).outcomes)[0], strict=True)) < 6
    # The number of a particle decides, not its row.
    again = evaluator(adapted, tiny_tokenizer, asking(WARM)).evaluate(vectors, examples, None, None, True, [2, 7, 0])
    assert texts(again.outcomes)[::2] == [one[2], one[0]]
    assert texts(again.outcomes)[1] not in one


def test_the_base_alone_draws_as_no_particle_does(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", plain: PlainPeft, examples: list[Example]
) -> None:
    made = evaluator(adapted, tiny_tokenizer, asking(WARM))
    expected = [reference(plain, None, one.question, one, WARM, number=BASE) for one in examples]
    assert texts(made.evaluate_base(examples).outcomes) == [expected]
    with made.base_alone(examples) as model:
        assert model.generate([one.question for one in examples], WARM) == expected


def test_every_turn_has_noise_of_its_own(
    adapted: AdaptedModel,
    pool: ExpertPool,
    plain: PlainPeft,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    examples: list[Example],
) -> None:
    class Twice:
        bounds = (0.0, 1.0)

        def check(self, examples: Sequence[Example], tokenizer: object) -> None:
            pass

        def prompt(self, example: Example, tokenizer: object) -> str:
            return example.question

        def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
            turns = [model.generate([example.question for example in examples], WARM) for _ in range(2)]
            return [Outcome("|".join(row), None, 0.0) for row in zip(*turns, strict=True)]

    found = evaluator(adapted, tiny_tokenizer, Twice(), EngineSettings(rows=5)).evaluate(
        pool.vectors[:2], examples[:5], whole_replies=True
    )
    for expert, row in enumerate(texts(found.outcomes)):
        for one, text in zip(examples, row, strict=False):
            turns = [reference(plain, expert, one.question, one, WARM, turn=turn) for turn in range(2)]
            assert text == "|".join(turns)
            assert turns[0] != turns[1]


def test_both_turns_of_abstention_are_drawn(
    adapted: AdaptedModel,
    tiny_tokenizer: "PreTrainedTokenizerBase",
    pool: ExpertPool,
    plain: PlainPeft,
    examples: list[Example],
) -> None:
    def made_with(**settings: Any) -> Abstention:
        return Abstention(
            "contained",
            template="{question}",
            reflection="{question} {answer}?",
            max_new_tokens=4,
            reflection_max_new_tokens=5,
            temperature=1.2,
            top_k=50,
            **settings,
        )

    objective, cold = made_with(), made_with(reflection_temperature=0)
    first = GenerationSettings(4, temperature=1.2, top_k=50)
    for made in (objective, cold):
        found = evaluator(adapted, tiny_tokenizer, made).evaluate(pool.vectors[:2], examples[:4], whole_replies=True)
        for expert, row in enumerate(texts(found.outcomes)):
            for one, text in zip(examples, row, strict=False):
                answer = reference(plain, expert, one.question, one, first)
                asked = f"{one.question} {answer.strip()}?"
                second = GenerationSettings(5, temperature=1.2, top_k=50)
                verdict = (
                    plain.reply(expert, asked, 5)
                    if made is cold
                    else reference(plain, expert, asked, one, second, turn=1)
                )
                assert text.startswith(f"{answer}\nIs that true or false? {verdict.strip()} -> ")


def test_a_reply_that_ends_when_it_is_settled_gets_the_score_of_the_whole_one(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, examples: list[Example]
) -> None:
    objective = ExactMatch(max_new_tokens=20, temperature=1.0)
    short = evaluator(adapted, tiny_tokenizer, objective, EngineSettings(rows=9)).evaluate(pool.vectors, examples)
    whole = evaluator(adapted, tiny_tokenizer, objective).evaluate(pool.vectors, examples, whole_replies=True)
    assert torch.equal(short.scores, whole.scores)
    assert short.generated < whole.generated
    assert 0 < whole.scores.mean() < 1


def test_what_is_left_unasked_changes_no_score(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, examples: list[Example]
) -> None:
    objective = ExactMatch(max_new_tokens=6, temperature=1.0)
    full = evaluator(adapted, tiny_tokenizer, objective).evaluate(pool.vectors, examples)
    best = torch.full((4,), float(full.utilities.max()), dtype=torch.float64)
    stakes = Stakes(best, -torch.inf, torch.zeros(4, 12), torch.full((4,), torch.nan))
    found = evaluator(adapted, tiny_tokenizer, objective, EngineSettings(chunk=1)).evaluate(
        pool.vectors, examples, stakes=stakes
    )
    asked = ~found.scores.isnan()
    assert asked.any(dim=1).all()
    assert not asked.all()
    assert torch.equal(found.scores[asked], full.scores[asked])


def test_rows_without_noise_are_refused_where_tokens_are_drawn(engine: Engine, pool: ExpertPool) -> None:
    rows = TextRows(engine, Particles(engine, Crowd(engine.adapted, pool.vectors)), [0, 1])
    assert len(rows.generate(["fox", "bear"], GenerationSettings(2))) == 2
    with pytest.raises(ValueError, match="noise for each of 2 rows"):
        rows.generate(["fox", "bear"], WARM)


def test_there_is_a_number_for_every_particle(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase", pool: ExpertPool, examples: list[Example]
) -> None:
    with pytest.raises(ValueError, match="number for each of 4 candidates, but got 3"):
        evaluator(adapted, tiny_tokenizer, asking(WARM)).evaluate(pool.vectors, examples, numbers=[0, 1, 2])


def test_a_task_among_several_is_sampled_as_alone(
    adapted: AdaptedModel, pool: ExpertPool, tiny_tokenizer: "PreTrainedTokenizerBase", examples: list[Example]
) -> None:
    asking = ExactMatch(template="{question}", max_new_tokens=8, temperature=0.9)
    mixed = [replace(example, task="ab"[place % 2]) for place, example in enumerate(examples)]
    particles = (0, 1) * (len(mixed) // 2)

    def ask(objective: Objective) -> list[str]:
        crowd = Crowd(adapted, pool.vectors[:2])
        rows = TextRows(
            Engine(adapted, tiny_tokenizer),
            Particles(Engine(adapted, tiny_tokenizer), crowd),
            particles,
            noise=RowNoise(SEED, particles, tuple(mixed)),
        )
        return [outcome.reply for outcome in objective.evaluate(mixed, rows)]

    alone = ask(asking)
    assert ask(MultiTask({"a": asking, "b": asking})) == alone
    assert len(set(alone)) > 6
