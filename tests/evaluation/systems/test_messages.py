"""What a node is told."""

from typing import TYPE_CHECKING

import pytest

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.systems.messages import CUT, Instructions, Message, opening_of_user
from swarm_lightning.objectives.prompts import PromptTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTION = "Question: Why?\nAnswer:"


def test_an_instruction_that_is_empty_leaves_no_line() -> None:
    assert Message("", (), QUESTION).text == QUESTION
    assert Message("", ("so",), QUESTION, "{number}) {reply}").text == f"1) so\n{QUESTION}"


def test_braces_in_a_reply_are_no_places_to_fill_in() -> None:
    assert Message("", ("{number} {reply}",), QUESTION, "{number}: {reply}").text == "1: {number} {reply}\n" + QUESTION


def test_in_a_chat_the_users_turn_holds_the_instruction(tiny_tokenizer: "PreTrainedTokenizerBase") -> None:
    template = PromptTemplate("{question}", chat=True, system="Be kind.")
    prompt = template.render(Example("Why?", "so"), tiny_tokenizer)
    assert prompt == "<s>system: Be kind.</s>\nuser: Why?</s>\nassistant:"
    opening = opening_of_user(tiny_tokenizer)
    told = Message("Answer.", ("Because.",), prompt, "Before: {reply}", opening).text
    assert told == "<s>system: Be kind.</s>\nuser: Answer.\nBefore: Because.\nWhy?</s>\nassistant:"


def test_a_prompt_without_a_users_turn_is_refused(tiny_tokenizer: "PreTrainedTokenizerBase") -> None:
    with pytest.raises(InputError, match="chat: false"):
        _ = Message("Answer.", (), "Human> Why?", opening=opening_of_user(tiny_tokenizer)).text


def test_of_replies_that_are_too_long_the_ends_are_kept_and_the_short_ones_whole(
    tiny_tokenizer: "PreTrainedTokenizerBase",
) -> None:
    def lengths(texts: "list[str] | tuple[str, ...]") -> list[int]:
        return [len(ids) for ids in tiny_tokenizer(list(texts))["input_ids"]]

    long = " ".join(str(number) for number in range(100, 160)) + " so it is 17"
    message = Message("Answer.", (long, "12", long), QUESTION)
    bare = lengths([Message("Answer.", ("", "12", ""), QUESTION).text])[0]
    for room in (bare + 20, bare + 61, bare + 140):
        cut = message.cut(tiny_tokenizer, room, lengths)  # type: ignore[arg-type]
        assert room - 3 <= lengths([cut.text])[0] <= room
        assert cut.replies[0] == cut.replies[2]
        assert cut.replies[1] == "12"
        assert cut.replies[0].startswith(CUT)
        assert long.endswith(cut.replies[0].removeprefix(CUT))
        assert cut.text.endswith(QUESTION)
        assert cut.text.startswith("Answer.\n")


def test_where_no_token_of_a_reply_fits_the_replies_are_left_out(tiny_tokenizer: "PreTrainedTokenizerBase") -> None:
    message = Message("", ("yes and no",), QUESTION)
    cut = message.cut(tiny_tokenizer, 3, lambda texts: [99 for _ in texts])
    assert cut.replies == ("",)


def test_a_form_of_responses_without_the_reply_is_refused() -> None:
    with pytest.raises(InputError, match="reply"):
        Instructions(response="Somebody replied.")
