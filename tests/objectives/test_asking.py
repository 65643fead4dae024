"""What objectives share: their settings stand on one level with their own, wherever they are asked from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import (
    Abstention,
    Asks,
    ExactMatch,
    GenerationSettings,
    LanguageModel,
    MultipleChoice,
    Objective,
    Outcome,
    Safety,
)
from swarm_lightning.objectives.asking import Unscored
from swarm_lightning.search.settings import settings_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# With what each can't do without.
GENERATING: dict[str, dict[str, Any]] = {
    "ExactMatch": {},
    "MultipleChoice": {},
    "Abstention": {},
    "Safety": {},
    "RewardModel": {"model": "nowhere"},
    "JudgeRating": {"judge": "a-judge"},
}
SHOWN: dict[str, Any] = {
    "template": "Say: {question}",
    "chat": True,
    "system": "Be kind.",
    "in_context_prompt": "Like this.",
}
SAMPLED: dict[str, Any] = {"max_new_tokens": 7, "stop": ["."], "temperature": 0.7, "top_p": 0.9, "top_k": 40}
WARM = GenerationSettings(7, (".",), 0.7, 0.9, 40)
PLAIN = Example("Why?", in_context_prompt="Never shown.")


class Short(Asks):
    """An objective as a user writes it with what the package brings."""

    bounds = (0.0, 1.0)

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Score the share of replies of at most ten characters."""
        return [Outcome(reply, None, float(len(reply) <= 10)) for reply in self.ask(examples, model)]


class Holder:
    """Takes any objective, as the search does."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective


def parsed(class_path: str, arguments: dict[str, Any]) -> Any:
    """Make an objective as the command line does."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Holder, "model")
    config = parser.parse_object({"model": {"objective": {"class_path": class_path, "init_args": arguments}}})
    return parser.instantiate_classes(config).model.objective


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [*GENERATING, f"{__name__}.Short"])
def test_how_a_model_is_asked_is_set_beside_an_objectives_own_settings(
    name: str, tokenizer: "PreTrainedTokenizerBase", monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules[Short.__module__])
    class_path = name if "." in name else f"swarm_lightning.objectives.{name}"
    objective = parsed(class_path, {**GENERATING.get(name, {}), **SHOWN, **SAMPLED})
    assert type(objective).__name__ == name.rsplit(".", 1)[-1]
    assert objective.settings == WARM
    expected = "<s>system: Be kind.</s>\nuser: Like this.\n\nSay: Why?</s>\nassistant:"
    assert objective.prompt(PLAIN, tokenizer) == expected
    assert objective.template.add_special_tokens is False


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_objective_that_only_reads_takes_a_prompt_and_no_sampling(tokenizer: "PreTrainedTokenizerBase") -> None:
    from jsonargparse import ArgumentError

    class_path = "swarm_lightning.objectives.MeanLogLikelihood"
    objective = parsed(class_path, {"in_context_prompt": "Like this."})
    assert objective.prompt(PLAIN, tokenizer) == "Like this.\n\nWhy?"
    with pytest.raises(ArgumentError, match="temperature"):
        parsed(class_path, {"temperature": 0.7})


@pytest.mark.parametrize("kind", [ExactMatch, MultipleChoice, Abstention, Safety, Short])
def test_every_setting_belongs_to_the_search(kind: type) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"in_context_prompt": ""},
        {"in_context_prompt": "Like this."},
        {"temperature": 1.0},
        {"temperature": 1.0, "top_p": 0.5},
        {"temperature": 1.0, "top_k": 5},
    ]
    found = [settings_of(kind(**change)) for change in changes]
    assert all(one != other for place, one in enumerate(found) for other in found[:place])


def test_both_turns_of_abstention_are_sampled_alike_unless_the_second_has_a_temperature_of_its_own() -> None:
    assert Abstention(**SAMPLED).reflection_settings == GenerationSettings(10, (), 0.7, 0.9, 40)
    own = Abstention(reflection_temperature=0.2, reflection_max_new_tokens=3, **SAMPLED)
    assert own.reflection_settings == GenerationSettings(3, (), 0.2, 0.9, 40)
    assert Abstention(reflection_temperature=0, **SAMPLED).reflection_settings == GenerationSettings(10)
    assert Abstention(reflection_temperature=0.5).reflection_settings == GenerationSettings(10, temperature=0.5)
    with pytest.raises(InputError, match="temperature"):
        Abstention(reflection_temperature=-1)


def test_both_turns_of_abstention_have_the_same_in_context_prompt() -> None:
    for given, shown in ((None, "Never shown.\n\n"), ("Like this.", "Like this.\n\n"), ("", "")):
        objective = Abstention("contained", in_context_prompt=given)
        assert objective.template.fill(PLAIN) == f"{shown}Question: Why?\nAnswer:"
        proposal = objective.proposal(PLAIN, Outcome(" So.", "So", 0.0))
        assert objective.reflection.fill(proposal).startswith(f"{shown}Question: Why?\nProposed answer: So.\n")


def test_a_likelihood_is_not_sampled() -> None:
    with pytest.raises(InputError, match="temperature only with method: generate, but got 0.7"):
        MultipleChoice("likelihood", temperature=0.7)


def test_an_objective_of_the_users_own_asks_and_scores(language_model: LanguageModel) -> None:
    objective: Objective = Short(template="{question}", max_new_tokens=5)
    examples = [Example("fox"), Example("bear 2"), Example("fox")]
    objective.check(examples, language_model.tokenizer)
    replies = language_model.generate(["fox", "bear 2", "fox"], GenerationSettings(5))
    scores = [1.0 if len(reply) <= 10 else 0.0 for reply in replies]
    assert [(one.reply, one.score) for one in objective.evaluate(examples, language_model)] == list(
        zip(replies, scores, strict=True)
    )
    with pytest.raises(InputError, match="names {context}"):
        Short("{context}").check(examples, language_model.tokenizer)


def test_replies_alone_are_those_of_the_objective_with_the_lowest_score(language_model: LanguageModel) -> None:
    asking = Short("{question}", max_new_tokens=3)
    asking.bounds = (-2.0, 9.0)
    objective: Objective = Unscored(asking)
    objective.check([PLAIN], language_model.tokenizer)
    replies = language_model.generate(["Never shown.\n\nWhy?"], GenerationSettings(3))
    assert objective.prompt(PLAIN, language_model.tokenizer) == "Never shown.\n\nWhy?"
    assert objective.evaluate([PLAIN], language_model) == [Outcome(replies[0], None, -2.0)]
    with pytest.raises(InputError, match="names {context}"):
        Unscored(Short("{context}")).check([PLAIN], language_model.tokenizer)
