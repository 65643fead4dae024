from typing import TYPE_CHECKING

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.engine.tokens import (
    Continuation,
    encode_continuations,
    encode_prompts,
    end_of_text_ids,
    padding_id,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def merging_tokenizer(begin: str | None = None) -> "PreTrainedTokenizerBase":
    """One token per character, but `ab` is one; ids a 0, b 1, c 2, blank 3, ab 4, <s> 5. It adds nothing by itself."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"a": 0, "b": 1, "c": 2, " ": 3, "ab": 4, "<s>": 5}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocabulary, [("a", "b")])), bos_token=begin, eos_token=None
    )


def test_the_tokenizer_adds_its_special_tokens_on_request(tiny_tokenizer: "PreTrainedTokenizerBase") -> None:
    (with_begin,) = encode_prompts(tiny_tokenizer, ["fox"])
    (without,) = encode_prompts(tiny_tokenizer, ["fox"], add_special_tokens=False)
    assert with_begin == [tiny_tokenizer.bos_token_id, *without]


def test_an_empty_prompt_becomes_the_beginning_of_a_text(tiny_tokenizer: "PreTrainedTokenizerBase") -> None:
    begin = tiny_tokenizer.bos_token_id
    assert encode_prompts(tiny_tokenizer, ["", "fox"], add_special_tokens=False)[0] == [begin]
    assert encode_prompts(tiny_tokenizer, [""]) == [[begin]]


def test_an_empty_prompt_is_refused_where_no_token_begins_a_text() -> None:
    with pytest.raises(InputError, match="prompt 1 is empty"):
        encode_prompts(merging_tokenizer(), ["a", ""])


def test_a_continuation_begins_where_its_prompt_ends() -> None:
    (row,) = encode_continuations(merging_tokenizer(), ["c"], [[" a", " ca"]])
    assert row == [Continuation((2, 3, 0), 1), Continuation((2, 3, 2, 0), 1)]


def test_white_space_at_the_end_of_a_prompt_counts_to_the_continuation() -> None:
    (row,) = encode_continuations(merging_tokenizer(), ["c "], [["a", "b"]])
    assert row == [Continuation((2, 3, 0), 1), Continuation((2, 3, 1), 1)]


def test_a_token_merged_across_the_border_counts_for_all_continuations_alike() -> None:
    # "ca" + "b" is [c, ab] and "ca" + "c" is [c, a, c]: what both share with the prompt [c, a] is [c].
    (row,) = encode_continuations(merging_tokenizer(), ["ca"], [["b", "c"]])
    assert row == [Continuation((2, 4), 1), Continuation((2, 0, 2), 1)]


def test_something_always_stands_before_a_continuation() -> None:
    (row,) = encode_continuations(merging_tokenizer("<s>"), [""], [["a", "b"]])
    assert row == [Continuation((5, 0), 1), Continuation((5, 1), 1)]
    (row,) = encode_continuations(merging_tokenizer("<s>"), ["a"], [["b"]])  # all of the prompt is merged
    assert row == [Continuation((5, 4), 1)]
    with pytest.raises(InputError, match="prompt 0 is empty"):
        encode_continuations(merging_tokenizer(), [""], [["a"]])


def test_an_empty_continuation_is_refused() -> None:
    with pytest.raises(InputError, match="'' after prompt 1 has none"):
        encode_continuations(merging_tokenizer(), ["a", "c"], [["c"], ["a", ""]])


def test_no_prompts_and_no_continuations_are_no_error() -> None:
    assert encode_prompts(merging_tokenizer(), []) == []
    assert encode_continuations(merging_tokenizer(), [], []) == []
    assert encode_continuations(merging_tokenizer(), ["a"], [[]]) == [[]]


def test_texts_end_as_the_model_and_the_tokenizer_say(
    tiny_model: "PreTrainedModel", tiny_tokenizer: "PreTrainedTokenizerBase", monkeypatch: pytest.MonkeyPatch
) -> None:
    end = tiny_tokenizer.eos_token_id
    settings = tiny_model.generation_config
    assert settings is not None
    for given, expected in ((None, [end]), (end, [end]), (7, sorted([7, end])), ([9, 7], sorted([7, 9, end]))):
        monkeypatch.setattr(settings, "eos_token_id", given)
        assert end_of_text_ids(tiny_model, tiny_tokenizer) == expected


def test_any_token_pads_where_the_tokenizer_has_none_for_it(tiny_tokenizer: "PreTrainedTokenizerBase") -> None:
    assert padding_id(tiny_tokenizer) == tiny_tokenizer.pad_token_id
    assert padding_id(merging_tokenizer("<s>")) == 0
