"""The loss covers the responses and nothing else; expected token ids are put together by hand from the tokenizer's."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from swarm_lightning.errors import InputError
from swarm_lightning.tuning.conversations import Conversation, Turn
from swarm_lightning.tuning.rendering import IGNORED, encode, tokenize
from swarm_lightning.tuning.settings import TextSettings

PLAIN = TextSettings(template="Question: {prompt}\nAnswer: {response}")


@pytest.fixture(scope="module")
def tokenizer(tiny_base_folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_base_folder)


def conversation(*said: str, system: str | None = None) -> Conversation:
    turns = [Turn("system", system)] if system is not None else []
    turns += [Turn(("user", "assistant")[place % 2], text) for place, text in enumerate(said)]
    return Conversation("7", tuple(turns))


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_a_plain_template_trains_the_response_and_the_end_of_text(tokenizer: PreTrainedTokenizerBase) -> None:
    example = encode(conversation("2 + 2?", "4"), tokenizer, PLAIN)
    prompt, response = [1, *ids(tokenizer, "Question: 2 + 2?\nAnswer:")], [*ids(tokenizer, " 4"), 2]
    assert list(example.input_ids) == prompt + response
    assert list(example.labels) == [IGNORED] * len(prompt) + response
    assert example.trained == len(response)


def test_the_prompt_is_tokenized_as_it_is_when_a_reply_is_asked_for(tokenizer: PreTrainedTokenizerBase) -> None:
    example = encode(conversation("Where is Paris?", "in France"), tokenizer, PLAIN)
    asked = list(tokenizer("Question: Where is Paris?\nAnswer:")["input_ids"])
    assert list(example.input_ids[: len(asked)]) == asked


def test_a_chat_trains_each_reply_of_the_assistant_up_to_its_end(tokenizer: PreTrainedTokenizerBase) -> None:
    said = conversation("2 + 2?", "4", "And 3?", "five", system="Add.")
    example = encode(said, tokenizer, TextSettings())
    # The template of tests/conftest.py: "<s>", then "role: content</s>\n" for each turn.
    pieces = [
        ("<s>system: Add.</s>\nuser: 2 + 2?</s>\nassistant:", False),
        (" 4</s>", True),
        ("\n", False),
        ("user: And 3?</s>\nassistant:", False),
        (" five</s>", True),
        ("\n", False),
    ]
    expected = [(token, token if trained else IGNORED) for text, trained in pieces for token in ids(tokenizer, text)]
    assert list(zip(example.input_ids, example.labels, strict=True)) == expected
    assert 1 in example.input_ids[:1]
    assert example.input_ids.count(1) == 1


def test_only_the_last_reply_is_trained_on_request(tokenizer: PreTrainedTokenizerBase) -> None:
    said = conversation("2 + 2?", "4", "And 3?", "five")
    both, last = (encode(said, tokenizer, TextSettings(train_on=which)) for which in ("all", "last"))
    assert both.input_ids == last.input_ids
    assert [label for label in last.labels if label != IGNORED] == ids(tokenizer, " five</s>")


def test_braces_in_the_data_are_text(tokenizer: PreTrainedTokenizerBase) -> None:
    example = encode(conversation("{response} and {system}", "{prompt}"), tokenizer, PLAIN)
    text = tokenizer.decode(list(example.input_ids), skip_special_tokens=True)
    assert text == "Question: {response} and {system}\nAnswer: {prompt}"


def test_what_is_too_long_is_cut_and_a_response_that_is_all_cut_is_left_out(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    short, long, lost = conversation("a", "b"), conversation("a", "b" * 40), conversation("a" * 200, "b")
    prompt = 1 + len(ids(tokenizer, "Question: a\nAnswer:"))
    settings = TextSettings(template=PLAIN.template, max_length=prompt + 5)
    examples, notices = tokenize([short, long, lost], tokenizer, settings, 512, "lessons")
    assert [len(example.input_ids) for example in examples] == [prompt + 2 + 1, prompt + 5]
    assert examples[1].trained == 5
    assert [(notice.kind, notice.count) for notice in notices] == [("cut", 1), ("no response left", 1)]
    with pytest.raises(InputError, match="none of 1 examples"):
        tokenize([lost], tokenizer, settings, 512, "lessons")


@pytest.mark.parametrize(
    ("settings", "said", "message"),
    [
        (PLAIN, conversation("a", "b", "c", "d"), "one prompt and one response"),
        (PLAIN, conversation("a", "b", system="Be brief."), r"\{system\} in text.template"),
        (TextSettings(chat_template="{{ raise_exception('no users') }}"), conversation("a", "b"), "no users"),
        (
            TextSettings(
                chat_template="{{ messages | length }}{% for turn in messages %}{{ turn['content'] }}{% endfor %}"
            ),
            conversation("a", "b"),
            "rewrites earlier turns",
        ),
        (TextSettings(max_length=600), conversation("a", "b"), "at most 512"),
    ],
)
def test_forms_that_cannot_serve_are_refused(
    tokenizer: PreTrainedTokenizerBase, settings: TextSettings, said: Conversation, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tokenize([said], tokenizer, settings, 512, "lessons")


def test_a_tokenizer_without_a_chat_template_needs_a_template(tokenizer: PreTrainedTokenizerBase) -> None:
    template, tokenizer.chat_template = tokenizer.chat_template, None
    try:
        with pytest.raises(InputError, match="text.template"):
            encode(conversation("a", "b"), tokenizer, TextSettings())
        given = encode(conversation("a", "b"), tokenizer, TextSettings(chat_template=str(template)))
    finally:
        tokenizer.chat_template = template
    assert given == encode(conversation("a", "b"), tokenizer, TextSettings())


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        # Contents as parts, and no word of a generation prompt.
        (
            "{% for m in messages %}{{ m.role }}: {{ m.content[0].text }}</s>\n{% endfor %}",
            [("user: 2 + 2?</s>\nassistant:", False), (" 4</s>", True), ("\n", False)],
        ),
        # A clock.
        (
            "{{ strftime_now('%Y-%m-%d') }} {% for m in messages %}{{ m.content }}</s>{% endfor %}",
            [("2024-07-26 2 + 2?</s>", False), ("4</s>", True)],
        ),
    ],
)
def test_templates_of_all_kinds_are_written_as_they_are_asked(
    tokenizer: PreTrainedTokenizerBase, template: str, expected: list[tuple[str, bool]]
) -> None:
    example = encode(conversation("2 + 2?", "4"), tokenizer, TextSettings(chat_template=template))
    pairs = [(token, token if trained else IGNORED) for text, trained in expected for token in ids(tokenizer, text)]
    assert list(zip(example.input_ids, example.labels, strict=True)) == pairs


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content + 1 }}{% endfor %}",
        "{% for m in messages %}{{ m.content.split('</think>')[-1] }}</s>{% endfor %}",
        "{% for m in messages %}{{ m.content[:2] }}</s>{% endfor %}",
        "",
    ],
)
def test_a_template_that_fails_or_cuts_a_response_is_refused_with_the_example(
    tokenizer: PreTrainedTokenizerBase, template: str
) -> None:
    with pytest.raises(InputError, match="lessons: .*(Example '7'|none).*text.template"):
        tokenize(
            [conversation("2 + 2?", "<think>easy</think> 4")], tokenizer, TextSettings(chat_template=template), 512,
            "lessons",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"template": "Question: {prompt}"}, "and {response}"),
        ({"template": "{response}{prompt}"}, "behind"),
        ({"template": "{prompt}{response}", "chat_template": "x"}, "both"),
        ({"max_length": 1}, "at least 2"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TextSettings(**arguments)
