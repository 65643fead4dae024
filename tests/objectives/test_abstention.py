"""Two turns: the tables are worked out by hand, and a real model is followed turn by turn."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.experts.pool import load_pool
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.experts.resident.base_model import load_base
from swarm_lightning.objectives import Abstention, GenerationSettings, LanguageModel, Likelihood, MultipleChoice
from swarm_lightning.objectives.protocol import RowDecided
from swarm_lightning.search.settings import settings_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COLOURS = Example("Which is a colour?", "B", {"A": "stone", "B": "red", "C": "a river bed"}, identifier="4")
SUM = Example("What is 12 plus 7?", "19", identifier="5")


class Spoken:
    """A language model that says what is written down, turn by turn, and keeps the prompts it is given.

    Real models can't be made to say every pair of replies that has to be told apart.
    """

    device = torch.device("cpu")

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", *turns: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.turns = list(turns)
        self.prompts: list[list[str]] = []
        self.decided: list[RowDecided | None] = []
        self.settings: list[GenerationSettings] = []

    def generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool = True,
        decided: RowDecided | None = None,
    ) -> list[str]:
        self.prompts.append(list(prompts))
        self.decided.append(decided)
        self.settings.append(settings)
        return list(self.turns[len(self.prompts) - 1])

    def loglikelihood(self, *args: object, **kwargs: object) -> list[list[Likelihood]]:
        raise AssertionError("abstention asks for replies")

    def select(self, places: Sequence[int]) -> "Spoken":
        raise AssertionError("abstention asks all rows")


@pytest.mark.parametrize(
    ("reply", "verdict", "score", "vote"),
    [
        (" B", "True", 1, "B"),
        (" A", "True", -1, "A"),
        (" B", "False", 0, "(abstained)"),
        (" A", "It is not correct.", 0, "(abstained)"),
        # The second reply can't be read: the answer stands.
        (" B", "hm", 1, "B"),
        (" A", "", -1, "A"),
        # There is no answer in the first reply: it is a wrong one, unless the model takes it back.
        (" no idea", "True", -1, None),
        ("", "", -1, None),
        (" no idea", "False.", 0, "(abstained)"),
    ],
)
def test_right_answers_count_for_wrong_ones_against_and_abstaining_for_nothing(
    tokenizer: "PreTrainedTokenizerBase", reply: str, verdict: str, score: float, vote: str | None
) -> None:
    objective = Abstention()
    outcome = objective.evaluate([COLOURS], Spoken(tokenizer, [reply], [verdict]))[0]
    assert (outcome.score, outcome.answer) == (score, vote)
    assert objective.bounds == (-1.0, 1.0)
    assert outcome.reply == f"{reply}\nIs that true or false? {verdict} -> {'answers' if score else 'abstains'}"


def test_the_mean_score_is_the_effective_reliability(tokenizer: "PreTrainedTokenizerBase") -> None:
    # Ten answers: 5 right and given, 2 wrong and given, 1 right and 2 wrong kept back: (5 - 2) / 10.
    replies = ["B"] * 5 + ["A", "C"] + ["B", "A", "C"]
    verdicts = ["True"] * 7 + ["False"] * 3
    outcomes = Abstention().evaluate([COLOURS] * 10, Spoken(tokenizer, replies, verdicts))
    assert sum(outcome.score for outcome in outcomes) / 10 == pytest.approx(0.3)


def test_both_turns_are_asked_in_one_call_each_and_row_by_row(tokenizer: "PreTrainedTokenizerBase") -> None:
    other = Example("Which is hard?", "A", {"A": "stone", "B": "milk"}, in_context_prompt="Be good.")
    model = Spoken(tokenizer, [" B", " (A) it", " x\ny "], ["True", "False", "True"])
    outcomes = Abstention().evaluate([COLOURS, other, COLOURS], model)
    end = "\nIs the proposed answer true or false? Directly answer with true or false.\nAnswer:"
    question = "Question: Which is a colour?\nA: stone\nB: red\nC: a river bed\n"
    assert model.prompts == [
        [
            f"{question}The answer is",
            "Be good.\n\nQuestion: Which is hard?\nA: stone\nB: milk\nThe answer is",
            f"{question}The answer is",
        ],
        [
            f"{question}Proposed answer: B: red{end}",
            f"Be good.\n\nQuestion: Which is hard?\nA: stone\nB: milk\nProposed answer: A: stone{end}",
            f"{question}Proposed answer: x\ny{end}",
        ],
    ]
    assert [outcome.score for outcome in outcomes] == [1, 0, -1]


def test_the_second_turn_has_a_length_of_its_own(tokenizer: "PreTrainedTokenizerBase") -> None:
    model = Spoken(tokenizer, ["B"], ["True"])
    Abstention(max_new_tokens=3, stop=["\n"], reflection_max_new_tokens=7).evaluate([COLOURS], model)
    assert model.settings == [GenerationSettings(3, ("\n",)), GenerationSettings(7)]


def test_a_first_reply_ends_early_only_where_the_rest_of_it_is_not_shown(tokenizer: "PreTrainedTokenizerBase") -> None:
    published = "{question}\n{choices}\nThe answer is\nProposed answer: {reply}\nTrue or false?"
    for objective, example, may_end in (
        (Abstention(), COLOURS, True),
        (Abstention(reflection=published), COLOURS, False),
        (Abstention("contained"), SUM, False),
        (Abstention("last_number"), SUM, False),
    ):
        model = Spoken(tokenizer, ["The answer is B.\n 19"], ["True. I think"])
        objective.evaluate([example], model)
        first, second = model.decided
        assert (first is not None) == may_end
        assert first is None or (first(0, "The answer is B.\n"), first(0, "The")) == (True, False)
        assert second is not None
        assert (second(0, "False."), second(0, "False")) == (True, False)


@pytest.mark.parametrize(
    ("objective", "reply", "shown", "score"),
    [
        (Abstention("contained"), " It is 19. ", "It is 19.", 1),
        (Abstention("exact"), " 19.\n", "19.", 1),
        (Abstention("exact"), " It is 19", "It is 19", -1),
        (Abstention("last_number"), " 7 and 12 make $19.00", "19", 1),
        (Abstention("last_number"), " no", "no", -1),
        (Abstention("last_five_words"), " 12 + 7 = 19", "12 + 7 = 19", 1),
    ],
)
def test_short_gold_answers_are_compared_by_the_rules_of_exact_match(
    tokenizer: "PreTrainedTokenizerBase", objective: Abstention, reply: str, shown: str, score: float
) -> None:
    model = Spoken(tokenizer, [reply], ["True"])
    assert objective.evaluate([SUM], model)[0].score == score
    assert model.prompts[0] == ["Question: What is 12 plus 7?\nAnswer:"]
    assert model.prompts[1][0].startswith(f"Question: What is 12 plus 7?\nProposed answer: {shown}\nIs the proposed")


def test_a_real_model_is_asked_the_second_time_about_what_it_said_the_first_time(language_model: LanguageModel) -> None:
    examples = [Example(f"Which is {word}?", "B", COLOURS.choices) for word in ("a colour", "hard", "wet", "old", "12")]
    template = "{question}|{reply}|"
    objective = Abstention(reflection=template, max_new_tokens=4, reflection_max_new_tokens=5)
    objective.check(examples, language_model.tokenizer)
    outcomes = objective.evaluate(examples, language_model)
    first = [objective.prompt(example, language_model.tokenizer) for example in examples]
    assert first == [MultipleChoice().prompt(example, language_model.tokenizer) for example in examples]
    replies = language_model.generate(first, GenerationSettings(4))
    assert len(set(replies)) > 1
    asked = [f"{example.question}|{reply.strip()}|" for example, reply in zip(examples, replies, strict=True)]
    verdicts = language_model.generate(asked, GenerationSettings(5))
    assert [outcome.reply for outcome in outcomes] == [
        f"{reply}\nIs that true or false? {verdict.strip()} -> answers"
        for reply, verdict in zip(replies, verdicts, strict=True)
    ]


def test_every_particle_is_asked_about_its_own_answer(
    tiny_base_folder: Path, tiny_experts_folder: Path, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    pool = load_pool(str(tiny_experts_folder))
    adapted = AdaptedModel(load_base(str(tiny_base_folder))[0], pool)
    objective = Abstention("contained", reflection="{reply} {question}", max_new_tokens=4, reflection_max_new_tokens=5)
    examples = [Example(f"What is {number} plus 7?", "e") for number in range(5)]
    together = Evaluator(ResidentRunner(adapted, tokenizer, EngineSettings(rows=6)), objective).evaluate(
        pool.vectors, examples, whole_replies=True
    )
    assert len({outcomes[0].reply for outcomes in together.outcomes if outcomes[0] is not None}) == len(pool.names)
    for particle in range(len(pool.names)):
        evaluator = Evaluator(ResidentRunner(adapted, tokenizer, EngineSettings(rows=1)), objective)
        alone = evaluator.evaluate(pool.vectors[particle : particle + 1], examples, whole_replies=True)
        assert together.outcomes[particle] == alone.outcomes[0]
    # Replies that end early, where that is on, get the same scores.
    early = Evaluator(ResidentRunner(adapted, tokenizer, EngineSettings(rows=6)), objective).evaluate(
        pool.vectors, examples
    )
    assert early.scores.equal(together.scores)
    assert set(early.scores.flatten().tolist()) == {-1.0, 1.0}


def test_an_example_without_a_gold_answer_is_asked_and_never_right(tokenizer: "PreTrainedTokenizerBase") -> None:
    open_example = Example(COLOURS.question, None, COLOURS.choices)
    outcomes = Abstention().evaluate([open_example] * 2, Spoken(tokenizer, ["B", "B"], ["True", "False"]))
    assert [outcome.score for outcome in outcomes] == [-1, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "regex"}, "rule to be one of choice, published_choice, contained"),
        ({"ignore_case": True}, "ignore_case only with a rule for short gold answers"),
        ({"reflection": "Is {question} right?"}, r"names neither \{answer\} nor \{reply\}"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"reflection_max_new_tokens": 0}, "max_new_tokens"),
        ({"template": "no placeholder"}, "placeholder"),
        ({"system": "Be kind."}, "chat: true"),
    ],
)
def test_values_that_cannot_be_used_are_refused_early(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Abstention(**arguments)  # type: ignore[arg-type]


def test_examples_and_templates_of_both_turns_are_checked_early(tokenizer: "PreTrainedTokenizerBase") -> None:
    Abstention().check([COLOURS], tokenizer)
    Abstention("exact").check([SUM], tokenizer)
    with pytest.raises(InputError, match="two or more choices"):
        Abstention().check([SUM], tokenizer)
    with pytest.raises(InputError, match="gold answer in every example"):
        Abstention("exact").check([Example("?")], tokenizer)
    with pytest.raises(InputError, match=r"names \{context\}"):
        Abstention(template="{context}").check([COLOURS], tokenizer)
    with pytest.raises(InputError, match=r"names \{hint\}"):
        Abstention(reflection="{hint} {answer}").check([COLOURS], tokenizer)


def test_every_setting_of_both_turns_belongs_to_the_search() -> None:
    changes: list[dict[str, object]] = [
        {},
        {"rule": "exact"},
        {"rule": "exact", "ignore_case": True},
        {"template": "{question}"},
        {"reflection": "{answer}"},
        {"chat": True},
        {"chat": True, "system": "Be kind."},
        {"max_new_tokens": 3},
        {"stop": ["\n"]},
        {"reflection_max_new_tokens": 3},
    ]
    found = [settings_of(Abstention(**change)) for change in changes]  # type: ignore[arg-type]
    assert all(one != other for place, one in enumerate(found) for other in found[:place])


def test_tokens_are_counted_for_the_turn_that_can_need_most(tokenizer: "PreTrainedTokenizerBase") -> None:
    def tokens(text: str) -> int:
        return len(tokenizer(text)["input_ids"])

    example = Example("Grass?", "B", {"A": "a word of many letters", "B": "green"})
    question = "Question: Grass?\nA: a word of many letters\nB: green\n"
    asked = "\nIs the proposed answer true or false? Directly answer with true or false.\nAnswer:"
    second = tokens(f"{question}Proposed answer: {asked}")
    long = len(tokenizer("A: a word of many letters", add_special_tokens=False)["input_ids"])
    assert long > 4
    # Shown is the longest choice, or all of a longer reply.
    assert Abstention(max_new_tokens=4, reflection_max_new_tokens=9).tokens_needed(example, tokenizer) == (
        second + long + 9
    )
    assert Abstention(max_new_tokens=90, reflection_max_new_tokens=9).tokens_needed(example, tokenizer) == (
        second + 90 + 9
    )
    # A short second turn: the first one needs more.
    brief = Abstention(reflection="{answer}?", max_new_tokens=90, reflection_max_new_tokens=1)
    assert brief.tokens_needed(example, tokenizer) == tokens(f"{question}The answer is") + 90
    # A reply that is shown twice counts twice.
    twice = Abstention(rule="contained", reflection="{reply} {reply} {question}", max_new_tokens=50)
    assert twice.tokens_needed(example, tokenizer) == tokens("  Grass?") + 2 * 50 + 10


def test_the_published_rule_reads_the_first_reply(tokenizer: "PreTrainedTokenizerBase") -> None:
    model = Spoken(tokenizer, [" A 7 8 8.", " A 7 8 8."], ["True", "False"])
    example = replace(COLOURS, answer="A")
    outcomes = Abstention("published_choice").evaluate([example, example], model)
    assert [outcome.score for outcome in outcomes] == [1.0, 0.0]
    assert "Proposed answer: A: stone" in model.prompts[1][0]
    with pytest.raises(InputError, match="got it with published_choice"):
        Abstention("published_choice", ignore_case=True)
