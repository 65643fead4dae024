"""Systems of models, against plain `peft` models that are asked one node after the other, one prompt at a time."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.exact_stop import Stakes
from swarm_lightning.evaluation.runners.graphs import GraphRunner
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.evaluation.systems.messages import Instructions
from swarm_lightning.experts.pool import ExpertPool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.objectives import ExactMatch, MultipleChoice
from swarm_lightning.swarm.graphs import Graph, System, alone, chain, star
from tests.evaluation.plain_peft import PlainPeft
from tests.search.tiny_search import GOLD, prompt_of

NEW_TOKENS = 5
QUESTIONS = ["What is 3 plus 4?", "Why?", "What is the capital of France?", "Which fox?"]
EXAMPLES = [
    Example(text, gold, identifier=str(place)) for place, (text, gold) in enumerate(zip(QUESTIONS, GOLD, strict=False))
]
TELL = Instructions("Reply.", "Reply, and look at these.", "Now end it.", "Response {number} was: {reply}")
# 0 and 1 are read by 2, and 2 and 1 by 3.
DIAMOND = Graph(((2,), (2, 3), (3,), ()))


@pytest.fixture(scope="module")
def evaluator(tiny_base_folder: Path, pool: ExpertPool) -> Evaluator[GraphRunner]:
    model, tokenizer = load_base(str(tiny_base_folder), "auto", torch.device("cpu"), False)
    models = ResidentRunner(AdaptedModel(model, pool), tokenizer, EngineSettings(rows=8))
    return Evaluator(GraphRunner(models, TELL), ExactMatch(max_new_tokens=NEW_TOKENS))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows every call of the models' runner had."""
    from swarm_lightning.evaluation.engine.text_rows import TextRows

    seen: list[int] = []
    generate = TextRows.generate

    def counted(self: TextRows, prompts: list[str], *args: object, **settings: object) -> list[str]:
        seen.append(len(prompts))
        return generate(self, prompts, *args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(TextRows, "generate", counted)
    return seen


def replies_of(evaluator: Evaluator[GraphRunner], systems: list[System]) -> list[list[str]]:
    evaluation = evaluator.evaluate(systems, EXAMPLES, whole_replies=True)
    return [[outcome.reply for outcome in row if outcome is not None] for row in evaluation.outcomes]


def told(plain: PlainPeft, expert: int, lines: list[str], question: str) -> str:
    """Have one expert reply, and write its reply on one line."""
    reply = plain.reply(expert, "\n".join([*lines, prompt_of(question)]), NEW_TOKENS)
    return " ".join(reply.split("\n")).strip()


def test_nodes_read_what_others_replied_in_topological_order(
    evaluator: Evaluator[GraphRunner], pool: ExpertPool, plain: PlainPeft
) -> None:
    systems = [System(DIAMOND, (0, 1, 2, 3), pool.vectors), System(chain(3), (2, 2, 0), pool.vectors)]
    first, second = replies_of(evaluator, systems)
    for question, of_diamond, of_chain in zip(QUESTIONS, first, second, strict=True):
        a, b = told(plain, 0, ["Reply."], question), told(plain, 1, ["Reply."], question)
        both = ["Reply, and look at these.", f"Response 1 was: {a}", f"Response 2 was: {b}"]
        c = told(plain, 2, both, question)
        ends = ["Now end it.", f"Response 1 was: {b}", f"Response 2 was: {c}", prompt_of(question)]
        assert of_diamond == plain.reply(3, "\n".join(ends), NEW_TOKENS)
        one = told(plain, 2, ["Reply."], question)
        two = told(plain, 2, ["Reply, and look at these.", f"Response 1 was: {one}"], question)
        assert of_chain == plain.reply(
            0, "\n".join(["Now end it.", f"Response 1 was: {two}", prompt_of(question)]), NEW_TOKENS
        )


def test_a_model_alone_is_asked_without_instructions(
    evaluator: Evaluator[GraphRunner], pool: ExpertPool, plain: PlainPeft
) -> None:
    (replies,) = replies_of(evaluator, [alone(pool.vectors, 2)])
    assert replies == [plain.reply(2, prompt_of(question), NEW_TOKENS) for question in QUESTIONS]


def test_what_systems_ask_a_model_alike_is_asked_once(
    evaluator: Evaluator[GraphRunner], pool: ExpertPool, calls: list[int]
) -> None:
    twice = [System(star(4), (0, 1, 2, 3), pool.vectors), System(DIAMOND, (0, 1, 2, 3), pool.vectors)]
    before = evaluator.runner.replies
    evaluator.evaluate(twice, EXAMPLES, whole_replies=True)
    # Of the star's nodes 0, 1 and 2 read nothing, and of the other's 0 and 1, which are the same; then an end of the
    # star and node 2, and at last the other's end: 3 + 2 + 1 replies to each question.
    assert sum(calls) == 6 * len(EXAMPLES) == evaluator.runner.replies - before
    assert len(calls) <= 3 * 4  # levels, of all systems together, in four lots at most


def test_systems_of_other_weights_share_batches(
    evaluator: Evaluator[GraphRunner], pool: ExpertPool, plain: PlainPeft
) -> None:
    found = replies_of(evaluator, [alone(pool.vectors[2:], 1), alone(pool.vectors, 0), alone(pool.vectors[2:], 0)])
    assert found == [[plain.reply(one, prompt_of(text), NEW_TOKENS) for text in QUESTIONS] for one in (3, 0, 2)]


def test_the_exact_stop_leaves_the_trajectory_as_it_is(evaluator: Evaluator[GraphRunner], pool: ExpertPool) -> None:
    systems = [System(chain(2), (one, other), pool.vectors) for one in range(3) for other in (1, 3)]
    full = evaluator.evaluate(systems, EXAMPLES)
    bests = torch.full((6,), 0.5, dtype=torch.float64)
    expected = torch.full((6, 4), 0.5, dtype=torch.float64)
    stakes = Stakes(bests, -math.inf, expected, torch.full((6,), math.nan))
    some = evaluator.evaluate(systems, EXAMPLES, stakes=stakes)
    for whole, found, at_most in zip(full.utilities, some.utilities, some.reach[:, 1], strict=True):
        assert found == whole if whole > 0.5 else at_most <= 0.5


def test_sampled_replies_belong_to_the_system_the_example_and_the_node(
    evaluator: Evaluator[GraphRunner], pool: ExpertPool
) -> None:
    sampling = evaluator.asking(ExactMatch(max_new_tokens=NEW_TOKENS, temperature=1.5))
    same = System(star(3), (1, 1, 1), pool.vectors)

    def ask(numbers: list[int]) -> list[list[str]]:
        evaluation = sampling.evaluate([same] * len(numbers), EXAMPLES, whole_replies=True, numbers=numbers)
        return [[outcome.reply for outcome in row if outcome is not None] for row in evaluation.outcomes]

    first, second = ask([0, 1])
    assert first != second
    assert ask([1, 0]) == [second, first]


def test_broken_weights_break_their_systems_only(evaluator: Evaluator[GraphRunner], pool: ExpertPool) -> None:
    weights = pool.vectors.clone()
    weights[1] = torch.nan
    systems = [System(chain(2), assignment, weights) for assignment in ((0, 2), (1, 2), (2, 1))]
    found = evaluator.evaluate(systems, EXAMPLES)
    assert found.utilities.isfinite().tolist() == [True, False, False]
    assert (found.utilities[1:] == -math.inf).all()


def test_replies_that_do_not_fit_are_cut_to_their_ends_and_it_is_said(tiny_base_folder: Path, pool: ExpertPool) -> None:
    model, tokenizer = load_base(str(tiny_base_folder), "auto", torch.device("cpu"), False)
    model.config.max_position_embeddings = 100
    runner = GraphRunner(ResidentRunner(AdaptedModel(model, pool), tokenizer), replace(TELL, first="", inner=""))
    evaluator = Evaluator(runner, ExactMatch(max_new_tokens=30))
    with pytest.warns(UserWarning, match="100 positions .* their ends kept"):
        evaluator.evaluate([System(star(4), (0, 1, 2, 3), pool.vectors)], EXAMPLES)


def test_prompts_that_do_not_fit_with_their_instruction_are_refused_before_anything_is_asked(
    evaluator: Evaluator[GraphRunner], pool: ExpertPool
) -> None:
    models = evaluator.runner._models
    wordy = evaluator.on(GraphRunner(models, Instructions(first="Reply. " * 200)))
    with pytest.raises(InputError, match="fewer than 512 tokens"):
        wordy.check_lengths(EXAMPLES)
    evaluator.check_lengths(EXAMPLES)


def test_objectives_that_ask_for_likelihoods_are_refused(evaluator: Evaluator[GraphRunner], pool: ExpertPool) -> None:
    choices = [Example("Why?", "A", choices={"A": "so", "B": "no"}, identifier="0")]
    with pytest.raises(InputError, match="method: generate"):
        evaluator.asking(MultipleChoice(method="likelihood")).evaluate([alone(pool.vectors, 0)], choices)


def test_other_candidates_are_refused(evaluator: Evaluator[GraphRunner], pool: ExpertPool) -> None:
    with pytest.raises(ValueError, match="systems of models, but got Tensor"):
        evaluator.evaluate(pool.vectors, EXAMPLES)
