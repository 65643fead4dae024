"""Rewards against plain `transformers`, reply by reply, and their mapping against calculation by hand."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from swarm_lightning.data.examples import Example
from swarm_lightning.differences import flatten
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import LanguageModel, RewardModel
from swarm_lightning.objectives.reward_model import between, with_length
from swarm_lightning.search.settings import settings_of
from tests.objectives.tiny_classifiers import plain_outputs, save_decoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTIONS = ("Tell me a story.", "What is 12 plus 7?", "What is the capital of France?", "Who are you?", "{reply}")
EXAMPLES = [Example(question=question) for question in QUESTIONS]


@pytest.fixture(scope="module")
def folder(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_decoder(tmp_path_factory.mktemp("reward"), tiny_base_folder)


def reward_by_hand(folder: Path, tokenizer: "PreTrainedTokenizerBase", question: str, reply: str) -> float:
    text = f"<s>user: {question}</s>\nassistant: {reply.strip()}</s>\n"
    ids = cast("list[int]", tokenizer(text, add_special_tokens=False)["input_ids"])
    return float(plain_outputs(folder, ids)[0])


def replies_of(model: LanguageModel, objective: RewardModel) -> list[str]:
    return model.generate(list(QUESTIONS), objective.settings)


@pytest.mark.parametrize("variant", ["default", "concise", "verbose", "reverse"])
def test_scores_are_the_mapped_rewards_of_the_replies(
    folder: Path, language_model: LanguageModel, variant: str
) -> None:
    objective = RewardModel(
        str(folder),
        variant,  # type: ignore[arg-type]
        lowest=-4.0,
        highest=5.0,
        shortest_reply=2,
        longest_reply=11,
        max_new_tokens=12,
        batch_size=3,
    )
    objective.check(EXAMPLES, language_model.tokenizer)
    replies = replies_of(language_model, objective)
    tokenizer = language_model.tokenizer
    expected = []
    for question, reply in zip(QUESTIONS, replies, strict=True):
        reward = min(max((reward_by_hand(folder, tokenizer, question, reply) + 4) / 9, 0), 1)
        ids = cast("list[int]", tokenizer(reply, add_special_tokens=False)["input_ids"])
        length = min(max((len(ids) - 2) / 9, 0), 1)
        expected.append(
            {
                "default": reward,
                "concise": (reward + 1 - length) / 2,
                "verbose": (reward + length) / 2,
                "reverse": 1 - reward,
            }[variant]
        )
    assert len({round(score, 3) for score in expected}) > 2, "scores that are all the same prove nothing"
    outcomes = objective.evaluate([*EXAMPLES, *EXAMPLES[:2]], language_model)
    assert [outcome.score for outcome in outcomes] == pytest.approx([*expected, *expected[:2]], abs=1e-5)
    assert [outcome.reply for outcome in outcomes[:5]] == replies
    assert {outcome.answer for outcome in outcomes} == {None}


def test_what_is_too_long_for_the_reward_model_is_cut(
    folder: Path, tokenizer: "PreTrainedTokenizerBase", tiny_base_folder: Path
) -> None:
    objective = RewardModel(str(folder), max_tokens=40)
    example = Example(question="Tell me a story about a fox and a bear. " * 10)
    objective.check([example], tokenizer)
    reward = objective.rewards([example], ["Once upon a time there was a small fox."])[0]
    ids = cast("list[int]", tokenizer(example.question, add_special_tokens=False)["input_ids"])
    by_hand = {
        round(
            reward_by_hand(
                folder, tokenizer, str(tokenizer.decode(ids[-kept:])), "Once upon a time there was a small fox."
            ),
            4,
        )
        for kept in range(1, 40)
    }
    assert round(reward, 4) in by_hand


def test_bounds_are_measured_on_the_replies_of_the_base(folder: Path, language_model: LanguageModel) -> None:
    objective = RewardModel(str(folder), max_new_tokens=8)
    with pytest.raises(InputError, match="neither given nor in the checkpoint"):
        objective.evaluate(EXAMPLES, language_model)
    objective.prepare(EXAMPLES, language_model)
    rewards = [
        reward_by_hand(folder, language_model.tokenizer, question, reply)
        for question, reply in zip(QUESTIONS, replies_of(language_model, objective), strict=True)
    ]
    assert objective.scale() == pytest.approx((min(rewards), max(rewards)), abs=1e-5)
    scores = [outcome.score for outcome in objective.evaluate(EXAMPLES, language_model)]
    assert (min(scores), max(scores)) == (0.0, 1.0)
    half = RewardModel(str(folder), lowest=-30.0, max_new_tokens=8)
    half.prepare(EXAMPLES, language_model)
    assert half.scale() == (-30.0, objective.scale()[1])


def test_measured_bounds_are_state_and_given_ones_are_settings(folder: Path, language_model: LanguageModel) -> None:
    measured, fresh = RewardModel(str(folder), max_new_tokens=8), RewardModel(str(folder), max_new_tokens=8)
    before = settings_of(measured)
    measured.prepare(EXAMPLES, language_model)
    state = json.loads(json.dumps(measured.state_dict()))  # plain values
    fresh.load_state_dict(state)
    assert fresh.scale() == measured.scale()
    assert fresh.evaluate(EXAMPLES, language_model) == measured.evaluate(EXAMPLES, language_model)
    assert settings_of(measured) == before
    given = flatten(settings_of(RewardModel(str(folder), lowest=-1.0, highest=1.0, batch_size=99, device="cpu")))
    assert (given["lowest"], given["highest"]) == (-1.0, 1.0)
    assert not {"batch_size", "device"} & given.keys()  # free to change when a search is resumed


def test_given_bounds_are_not_measured(folder: Path, language_model: LanguageModel) -> None:
    objective = RewardModel(str(folder), lowest=-1.0, highest=1.0)
    objective.prepare(EXAMPLES, language_model)
    assert objective.scale() == (-1.0, 1.0)
    assert objective.state_dict()["lowest"] is None


def test_bounds_that_cannot_be_measured_are_asked_for(folder: Path, language_model: LanguageModel) -> None:
    with pytest.raises(InputError, match="Give lowest and highest"):
        RewardModel(str(folder)).prepare(EXAMPLES[:1], language_model)
    with pytest.raises(InputError, match="Give lowest and highest"):
        RewardModel(str(folder), lowest=1e6).prepare(EXAMPLES, language_model)


def test_the_state_of_another_reward_model_is_refused(
    folder: Path, tokenizer: "PreTrainedTokenizerBase", tiny_base_folder: Path, tmp_path: Path
) -> None:
    other = RewardModel(str(save_decoder(tmp_path, tiny_base_folder, hidden_size=16)))
    other.check(EXAMPLES, tokenizer)
    objective = RewardModel(str(folder))
    objective.load_state_dict({**other.state_dict(), "lowest": -1.0, "highest": 1.0})  # none is loaded yet
    objective.check(EXAMPLES, tokenizer)
    with pytest.raises(InputError, match="holds another one now"):
        objective.load_state_dict(other.state_dict())


def test_one_of_several_outputs_is_chosen_by_name(
    tiny_base_folder: Path, tmp_path: Path, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    folder = save_decoder(tmp_path, tiny_base_folder, ("rejected", "chosen"))
    with pytest.raises(InputError, match=r"one output, but .* has 2 \(rejected, chosen\).*output: chosen"):
        RewardModel(str(folder)).check(EXAMPLES, tokenizer)
    with pytest.raises(InputError, match="output to be the name"):
        RewardModel(str(folder), output="best").check(EXAMPLES, tokenizer)
    text = "<s>user: Who are you?</s>\nassistant: A fox.</s>\n"
    ids = cast("list[int]", tokenizer(text, add_special_tokens=False)["input_ids"])
    for place, name in enumerate(("rejected", "chosen")):
        found = RewardModel(str(folder), output=name).rewards([Example(question="Who are you?")], ["A fox."])
        assert found == pytest.approx([float(plain_outputs(folder, ids)[place])], abs=1e-5)


def test_a_reward_model_without_a_chat_template_is_refused_early(
    tiny_base_folder: Path, tmp_path: Path, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    folder = save_decoder(tmp_path, tiny_base_folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="reward_template"):
        RewardModel(str(folder)).check(EXAMPLES, tokenizer)
    RewardModel(str(folder), reward_template="{prompt}\n{reply}").check(EXAMPLES, tokenizer)


def test_a_reward_that_is_no_number_is_refused(
    tiny_base_folder: Path, tmp_path: Path, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_decoder(tmp_path, tiny_base_folder)
    weights = load_file(folder / "model.safetensors")
    weights["score.weight"][0, 0] = math.inf
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="finite rewards.*dtype"):
        RewardModel(str(folder)).rewards(EXAMPLES[:1], ["A fox."])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "long"}, "variant"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"shortest_reply": 9, "longest_reply": 9}, "longest_reply to be larger"),
        ({"shortest_reply": -1}, "shortest_reply"),
        ({"lowest": math.nan}, "lowest"),
        ({"highest": math.inf}, "highest"),
        ({"lowest": 1.0, "highest": 1.0}, "lowest to be below highest"),
        ({"template": "all the same"}, "placeholder"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
    ],
)
def test_values_that_cannot_be_used_are_refused_early(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RewardModel("somewhere", **arguments)


def test_a_template_that_the_examples_cannot_fill_is_refused_early(
    folder: Path, tokenizer: "PreTrainedTokenizerBase"
) -> None:
    with pytest.raises(InputError, match=r"names \{context\}"):
        RewardModel(str(folder), template="{context}").check(EXAMPLES, tokenizer)


def test_the_mapping_is_straight_between_the_bounds_and_flat_outside() -> None:
    assert [between(value, -2, 2) for value in (-9, -2, -1, 0, 2, 9)] == [0, 0, 0.25, 0.5, 1, 1]
    assert [
        with_length(variant, 0.2, 1.0) for variant in ("default", "verbose", "concise", "reverse")
    ] == pytest.approx([0.2, 0.6, 0.1, 0.8])
