from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.prompts import CHOICES_TEMPLATE, QUESTION_TEMPLATE, PromptTemplate
from swarm_lightning.objectives.protocol import GenerationSettings, LanguageModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN = Example(question="What is 1 + 1?", identifier="7")
COLOURS = Example(question="Which?", choices={"B": "red", "A": "blue"}, answer="A")
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ messages[0]['content'] }}"
)


def with_chat_template(tokenizer: "PreTrainedTokenizerBase", template: str | None) -> "PreTrainedTokenizerBase":
    import copy

    changed = copy.deepcopy(tokenizer)
    changed.chat_template = template
    return changed


def test_the_default_prompts(tokenizer: "PreTrainedTokenizerBase") -> None:
    assert PromptTemplate(QUESTION_TEMPLATE).render(PLAIN, tokenizer) == "Question: What is 1 + 1?\nAnswer:"
    expected = "Question: Which?\nB: red\nA: blue\nThe answer is"
    assert PromptTemplate(CHOICES_TEMPLATE).render(COLOURS, tokenizer) == expected


def test_an_in_context_prompt_stands_before_with_a_blank_line() -> None:
    example = replace(PLAIN, in_context_prompt="Be short.")
    assert PromptTemplate("Q: {question}").fill(example) == "Be short.\n\nQ: What is 1 + 1?"


def test_an_in_context_prompt_stands_once_where_the_template_names_it() -> None:
    example = replace(PLAIN, in_context_prompt="Be short.")
    assert PromptTemplate("{question} ({in_context_prompt})").fill(example) == "What is 1 + 1? (Be short.)"
    assert PromptTemplate("{question} ({in_context_prompt})").fill(PLAIN) == "What is 1 + 1? ()"


def test_an_in_context_prompt_of_the_templates_own_takes_the_place_of_the_examples() -> None:
    example = replace(PLAIN, in_context_prompt="Be short.")
    for one in (example, PLAIN):
        assert PromptTemplate("Q: {question}", in_context_prompt="A {x}.").fill(one) == "A {x}.\n\nQ: What is 1 + 1?"
        assert PromptTemplate("Q: {question}", in_context_prompt="").fill(one) == "Q: What is 1 + 1?"
    named = PromptTemplate("{in_context_prompt} Q: {question}", in_context_prompt="A.")
    assert named.fill(example) == "A. Q: What is 1 + 1?"


def test_braces_in_the_data_are_never_read_as_a_template() -> None:
    example = Example(question="{choices} {question} {{x}}", in_context_prompt="{question}")
    assert PromptTemplate("Q: {question}").fill(example) == "{question}\n\nQ: {choices} {question} {{x}}"


def test_braces_that_are_no_placeholder_stay() -> None:
    template = PromptTemplate('{question} {"a": {"b": 1}} {} {{x}} {1} \\frac{')
    assert template.fill(Example(question="Q")) == 'Q {"a": {"b": 1}} {} {x} {1} \\frac{'


def test_further_columns_are_placeholders() -> None:
    example = Example(question="Q", extras={"domain": "law", "year": 1999, "question": "another"})
    assert PromptTemplate("{domain} {year} {question}").fill(example) == "law 1999 Q"


def test_an_unknown_placeholder_is_refused_with_what_there_is(tokenizer: "PreTrainedTokenizerBase") -> None:
    example = replace(PLAIN, extras={"domain": "law"})
    with pytest.raises(InputError, match=r"'7' has \(question, in_context_prompt, domain\), but it names \{choices\}"):
        PromptTemplate("{question} {choices}").check([example], tokenizer)
    with pytest.raises(InputError, match=r"names \{answer\}"):
        PromptTemplate("{question} {answer}").check([replace(PLAIN, answer="2")], tokenizer)


@pytest.mark.parametrize("template", ["", "What is it?", "{{question}}", "{}"])
def test_a_template_without_a_placeholder_is_refused(template: str) -> None:
    with pytest.raises(InputError, match="placeholder"):
        PromptTemplate(template)


def test_a_chat_template_wraps_the_text_and_brings_its_own_special_tokens(tokenizer: "PreTrainedTokenizerBase") -> None:
    template = PromptTemplate("Q: {question}", chat=True, system="Be kind.")
    expected = "<s>system: Be kind.</s>\nuser: Q: What is 1 + 1?</s>\nassistant:"
    assert template.render(PLAIN, tokenizer) == expected
    assert not template.add_special_tokens
    assert PromptTemplate("{question}").add_special_tokens


def test_chat_without_a_chat_template_is_refused(tokenizer: "PreTrainedTokenizerBase") -> None:
    with pytest.raises(InputError, match="has none"):
        PromptTemplate("{question}", chat=True).check([PLAIN], with_chat_template(tokenizer, None))


def test_a_system_prompt_needs_a_chat_template_that_shows_it(tokenizer: "PreTrainedTokenizerBase") -> None:
    with pytest.raises(InputError, match="chat: true"):
        PromptTemplate("{question}", system="Be kind.")
    template = PromptTemplate("{question}", chat=True, system="Be kind.")
    with pytest.raises(InputError, match="System role not supported.*Leave system out"):
        template.check([PLAIN], with_chat_template(tokenizer, NO_SYSTEM))
    with pytest.raises(InputError, match="drops it"):
        template.check([PLAIN], with_chat_template(tokenizer, "{{ messages[-1]['content'] }}"))


def test_a_chat_template_that_refuses_the_question_is_refused(tokenizer: "PreTrainedTokenizerBase") -> None:
    refusing = with_chat_template(tokenizer, "{{ raise_exception('No.') }}")
    with pytest.raises(InputError, match="No.. Set chat: false"):
        PromptTemplate("{question}", chat=True).check([PLAIN], refusing)


def test_asking_a_model_gives_one_reply_per_example_and_repeats_are_fine(language_model: LanguageModel) -> None:
    template = PromptTemplate("Q: {question}")
    examples = [PLAIN, COLOURS, PLAIN]
    replies = template.ask(examples, language_model, GenerationSettings(5))
    assert replies[0] == replies[2] != replies[1]
    assert replies == language_model.generate(
        ["Q: What is 1 + 1?", "Q: Which?", "Q: What is 1 + 1?"], GenerationSettings(5)
    )


def test_chat_prompts_get_no_second_beginning_of_text(language_model: LanguageModel) -> None:
    template = PromptTemplate("{question}", chat=True)
    text = "<s>user: Which?</s>\nassistant:"
    alone = language_model.generate([text], GenerationSettings(5), add_special_tokens=False)
    assert template.ask([COLOURS], language_model, GenerationSettings(5)) == alone


def test_a_chat_template_and_a_date_of_ones_own_take_the_place_of_the_tokenizers(
    tokenizer: "PreTrainedTokenizerBase",
) -> None:
    dated = "{{ strftime_now('%Y-%m-%d') }} {{ messages[0]['content'] }}"
    assert (
        PromptTemplate("{question}", chat=True, chat_template=dated).render(COLOURS, tokenizer) == "2024-07-26 Which?"
    )
    other = PromptTemplate("{question}", chat=True, chat_template=dated, date="2026-01-31")
    assert other.render(COLOURS, tokenizer) == "2026-01-31 Which?"


@pytest.mark.parametrize("settings", [{"chat_template": "{{ messages }}"}, {"date": "2026-01-31"}])
def test_what_belongs_to_a_chat_template_needs_chat(settings: dict[str, str]) -> None:
    with pytest.raises(InputError, match=f"chat: true with {next(iter(settings))}"):
        PromptTemplate("{question}", **settings)  # type: ignore[arg-type]


def test_a_date_that_is_no_day_is_refused() -> None:
    with pytest.raises(InputError, match="to be a day"):
        PromptTemplate("{question}", chat=True, date="31.1.2026")


def test_a_chat_template_that_leaves_out_a_part_of_one_example_is_refused_before_anything_is_asked(
    tokenizer: "PreTrainedTokenizerBase",
) -> None:
    cutting = with_chat_template(tokenizer, "{{ messages[0]['content'][:30] }}")
    template = PromptTemplate("{question}", chat=True)
    template.check([PLAIN], cutting)
    with pytest.raises(InputError, match="a part of it.*Set chat: false"):
        template.check([PLAIN, Example(question="Which " + "very " * 9 + "old town?")], cutting)


def test_a_date_in_the_prompts_is_told_once(
    tokenizer: "PreTrainedTokenizerBase", caplog: pytest.LogCaptureFixture
) -> None:
    dated = with_chat_template(tokenizer, "{{ strftime_now('%Y') }} {{ messages[0]['content'] }}")
    with caplog.at_level("INFO"):
        PromptTemplate("{question}", chat=True).check([PLAIN, COLOURS], dated)
        PromptTemplate("{question}", chat=True).check([PLAIN, COLOURS], tokenizer)
    assert [record.getMessage().count("2024-07-26") for record in caplog.records] == [1]
