from typing import TYPE_CHECKING

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.objectives.conversations import Conversations

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPT = "Tell me a story about a fox and a bear. " * 3 + "Make it short."
REPLY = "Once upon a time there was a small fox."
PLAIN = "{prompt}\n{reply}"


def shown(tokenizer: "PreTrainedTokenizerBase", ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def test_the_form_is_the_tokenizers_own_chat_template(tokenizer: "PreTrainedTokenizerBase") -> None:
    ids = Conversations(tokenizer, None, 500).encode("What is it?", "A {prompt}.")
    # Written by hand from the template of the tiny tokenizer; <s> stands once.
    assert shown(tokenizer, ids) == "<s>user: What is it?</s>\nassistant: A {prompt}.</s>\n"


def test_a_template_takes_the_place_of_the_chat_template(tokenizer: "PreTrainedTokenizerBase") -> None:
    ids = Conversations(tokenizer, "Q: {prompt} A: {reply} {x}", 500).encode("What is {reply}?", "A {prompt}.")
    assert shown(tokenizer, ids) == "<s>Q: What is {reply}? A: A {prompt}. {x}"


@pytest.mark.parametrize("template", [None, PLAIN])
def test_what_is_too_long_is_cut_at_the_beginning_of_the_prompt(
    tokenizer: "PreTrainedTokenizerBase", template: str | None
) -> None:
    whole = len(Conversations(tokenizer, template, 500).encode(PROMPT, REPLY))
    least = len(Conversations(tokenizer, template, 500).encode("", REPLY))
    seen = set()
    for limit in range(least + 1, whole + 1):
        ids = Conversations(tokenizer, template, limit).encode(PROMPT, REPLY)
        text = shown(tokenizer, ids)
        before, after = ("<s>user: ", f"</s>\nassistant: {REPLY}</s>\n") if template is None else ("<s>", f"\n{REPLY}")
        assert text.startswith(before)
        assert text.endswith(after)
        kept = text[len(before) : len(text) - len(after)]
        assert PROMPT.endswith(kept)
        assert limit - 2 <= len(ids) <= limit  # a cut text may take a token less
        seen.add(kept)
    assert PROMPT in seen
    assert len(seen) > 20


def test_a_reply_that_is_too_long_itself_is_cut_at_its_end(tokenizer: "PreTrainedTokenizerBase") -> None:
    least = len(Conversations(tokenizer, None, 500).encode("", ""))
    ids = Conversations(tokenizer, None, least + 10).encode(PROMPT, REPLY * 3)
    text = shown(tokenizer, ids)
    assert text.startswith("<s>user: </s>\nassistant: Once upon")
    assert text.endswith("</s>\n")
    assert least < len(ids) <= least + 10


def test_a_tokenizer_without_a_chat_template_needs_another(tiny_base_folder: str) -> None:
    from transformers import AutoTokenizer

    bare = AutoTokenizer.from_pretrained(tiny_base_folder)
    bare.chat_template = None
    with pytest.raises(InputError, match="whose tokenizer has a chat template.*reward_template"):
        Conversations(bare, None, 500)
    assert Conversations(bare, PLAIN, 500).encode("a", "b")


@pytest.mark.parametrize(
    ("chat_template", "message"),
    [
        ("{% for message in messages[:1] %}{{ message['content'] }}{% endfor %}", "shows the prompt and the reply"),
        ("{{ raise_exception('only one turn') }}", "refuses: only one turn"),
        ("{{ messages[1]['content'] / 2 }}", "the reward model's fails: TypeError.*reward_template"),
        ("{{ nothing.at.all }}", "fails: UndefinedError"),
        ({"rag": "{{ messages }}"}, "has rag"),
    ],
)
def test_a_chat_template_that_does_not_take_both_turns_is_refused(
    tiny_base_folder: str, chat_template: str | dict[str, str], message: str
) -> None:
    from transformers import AutoTokenizer

    other = AutoTokenizer.from_pretrained(tiny_base_folder)
    other.chat_template = chat_template
    with pytest.raises(InputError, match=message):
        Conversations(other, None, 500)


def test_a_template_that_drops_a_part_is_refused(tokenizer: "PreTrainedTokenizerBase") -> None:
    with pytest.raises(InputError, match="shows the prompt and the reply.*reward_template"):
        Conversations(tokenizer, "{prompt}", 500)


def test_a_limit_without_room_is_refused(tokenizer: "PreTrainedTokenizerBase") -> None:
    frame = len(Conversations(tokenizer, None, 500).encode("", ""))
    with pytest.raises(InputError, match=f"more tokens than the {frame} that frame"):
        Conversations(tokenizer, None, frame)


def test_a_chat_template_that_wants_parts_and_the_date_gets_both(tiny_base_folder: str) -> None:
    from transformers import AutoTokenizer

    other = AutoTokenizer.from_pretrained(tiny_base_folder)
    other.chat_template = "{{ strftime_now('%Y') }}{% for m in messages %} {{ m.content[0].text }}{% endfor %}"
    assert shown(other, Conversations(other, None, 500).encode("Why?", "So.")) == "2024 Why? So."
