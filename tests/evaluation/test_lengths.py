"""What the model has no room for is refused: examples before any is asked, texts before any reply."""

from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.evaluator import Evaluator
from swarm_lightning.evaluation.lengths import check_lengths, positions_of
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.experts.resident.adapted import AdaptedModel
from swarm_lightning.objectives import Abstention, ExactMatch, MultiTask

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CHOICES = {"A": "red", "B": "green"}
EXAMPLES = [Example("Grass?", "B", CHOICES, "colours-0"), Example("Blood?", "A", CHOICES, "colours-1")]
POSITIONS = 512  # of the tiny base


def doubting(max_new_tokens: int, tokenizer: "PreTrainedTokenizerBase") -> tuple[Abstention, int]:
    """Return the objective, and by hand how many tokens its second turn can need with the first example."""
    reflection = "Question: {question}\nProposed answer: {answer}\nTrue or false?\nAnswer:"
    objective = Abstention(reflection=reflection, max_new_tokens=max_new_tokens, reflection_max_new_tokens=7)
    bare = "Question: Grass?\nProposed answer: \nTrue or false?\nAnswer:"
    return objective, len(tokenizer(bare)["input_ids"]) + max_new_tokens + 7


def test_a_second_turn_that_just_fits_is_fine_and_one_token_more_is_refused_before_the_search(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    _, needed = doubting(10, tiny_tokenizer)
    room = 10 + POSITIONS - needed
    first = len(tiny_tokenizer("Question: Grass?\nA: red\nB: green\nThe answer is")["input_ids"])
    assert first + room + 1 <= POSITIONS, "the first turn fits in any case"
    objective, exactly = doubting(room, tiny_tokenizer)
    assert exactly == POSITIONS
    Evaluator(ResidentRunner(adapted, tiny_tokenizer), objective).check_lengths(EXAMPLES[:1])
    objective, _ = doubting(room + 1, tiny_tokenizer)
    with pytest.raises(InputError, match=r"Abstention to need at most 512 .* of 1 of 1 examples can need up to 513 "):
        Evaluator(ResidentRunner(adapted, tiny_tokenizer), objective).check_lengths(EXAMPLES[:1])


def test_the_turns_of_a_task_among_several_are_counted_too(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    objective = MultiTask({"sums": ExactMatch(), "colours": doubting(500, tiny_tokenizer)[0]}, "mean")
    examples = [Example("1 + 1?", "2", identifier="sums/0", task="sums")]
    Evaluator(ResidentRunner(adapted, tiny_tokenizer), objective).check_lengths(examples)
    examples.append(Example("Grass?", "B", CHOICES, "colours/0", task="colours"))
    with pytest.raises(InputError, match=r"1 of 2 examples .* \(id 'colours/0'\)"):
        Evaluator(ResidentRunner(adapted, tiny_tokenizer), objective).check_lengths(examples)


def test_a_prompt_that_alone_fills_the_model_is_refused(
    adapted: AdaptedModel, tiny_tokenizer: "PreTrainedTokenizerBase"
) -> None:
    long = Example("red " * 600, "A", CHOICES, "long")
    with pytest.raises(InputError, match=r"fewer than 512 tokens, .* 1 of 3 examples are longer, .* \(id 'long'\)"):
        Evaluator(ResidentRunner(adapted, tiny_tokenizer), ExactMatch()).check_lengths([*EXAMPLES, long])


def test_a_prompt_that_leaves_too_little_room_is_refused_with_the_limit(tiny_model: "PreTrainedModel") -> None:
    check_lengths(tiny_model, [[1] * 502], ["long"], room=10)  # the tiny base has 512 positions
    with pytest.raises(InputError, match="at most 502 tokens.*512 positions less 10.*prompt 1 has 503: 'long'"):
        check_lengths(tiny_model, [[1], [1] * 503], ["short", "long"], room=10)


@pytest.mark.parametrize(
    ("rope", "limit"),
    [
        ({"rope_type": "default"}, 64),
        ({"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 32}, 32),
        ({"rope_type": "linear", "factor": 2.0}, 64),
    ],
)
def test_a_model_that_stretches_its_positions_for_longer_batches_is_used_below_that(
    rope: dict[str, Any], limit: int
) -> None:
    config = LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=64, rope_parameters={"rope_theta": 10000.0, **rope},
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    assert positions_of(model) == limit
    check_lengths(model, [[1] * (limit - 2)], ["fits"], room=2)
    with pytest.raises(InputError, match=f"at most {limit - 2} tokens"):
        check_lengths(model, [[1] * (limit - 1)], ["does not"], room=2)


def test_positions_without_an_end_are_no_limit() -> None:
    from transformers import XLNetConfig, XLNetLMHeadModel

    with torch.device("meta"):
        model = XLNetLMHeadModel(XLNetConfig(vocab_size=16, d_model=8, n_layer=1, n_head=1, d_inner=8))
    assert model.config.max_position_embeddings == -1
    assert positions_of(model) is None
    check_lengths(model, [[1] * 5000], ["long"], room=8)
