from typing import TYPE_CHECKING

import pytest

from swarm_lightning.evaluation.engine.row_stops import INTERVAL, SHORT, StopCheck, cut

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Watcher:
    """Remembers the texts that it is shown, and calls a reply decided when it holds a word."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.seen: list[str] = []

    def __call__(self, row: int, text: str) -> bool:
        self.seen.append(text)
        return self.word in text


def ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ((), "one. two. three"),
        (("two", ". "), "one"),
        (("three",), "one. two. "),
        (("one",), ""),
        (("x",), "one. two. three"),
    ],
)
def test_a_text_is_cut_before_the_first_stop_string(stop: tuple[str, ...], expected: str) -> None:
    assert cut("one. two. three", stop) == expected


def test_without_stop_strings_and_a_decision_no_look_is_needed(tiny_tokenizer: "PreTrainedTokenizerBase") -> None:
    assert not StopCheck(tiny_tokenizer, ()).needed
    assert StopCheck(tiny_tokenizer, ("x",)).needed
    assert StopCheck(tiny_tokenizer, (), Watcher("x")).needed


def test_a_row_is_over_with_the_token_that_completes_a_stop_string(
    tiny_tokenizer: "PreTrainedTokenizerBase",
) -> None:
    stop = ("STOP", "\u20ac\u20ac")  # the sign is three bytes, and as many tokens
    check = StopCheck(tiny_tokenizer, stop)
    for text in ("STOP", "a" * 40 + "STOP", "\u20ac\u20ac", "z" * 50 + "\u20ac\u20ac"):
        tokens = ids(tiny_tokenizer, text)
        lengths = [length for length in range(1, len(tokens) + 1) if check([0], [tokens[:length]]) == [True]]
        assert lengths == [len(tokens)]
    assert check([0, 1], [ids(tiny_tokenizer, "STO"), ids(tiny_tokenizer, "a STOP sign")]) == [False, True]


def test_every_row_is_judged_by_itself(tiny_tokenizer: "PreTrainedTokenizerBase") -> None:
    check = StopCheck(tiny_tokenizer, (), lambda row, text: text == "abc"[row])
    tokens = [ids(tiny_tokenizer, letter) for letter in "cbb"]
    assert check([2, 1, 0], tokens) == [True, True, False]


def test_a_decision_is_never_shown_half_a_character(tiny_tokenizer: "PreTrainedTokenizerBase") -> None:
    watcher = Watcher("never")
    check = StopCheck(tiny_tokenizer, (), watcher)
    tokens = ids(tiny_tokenizer, "a\u20acb\u00e9")
    for length in range(1, len(tokens) + 1):
        check([0], [tokens[:length]])
    assert watcher.seen == ["a", "a", "a", "a\u20ac", "a\u20acb", "a\u20acb", "a\u20acb\u00e9"]


def test_a_decision_is_never_shown_bytes_that_later_ones_may_spoil() -> None:
    """A run of byte tokens is decoded as a whole: `n` alone is a letter, and with a stray byte behind it no more."""
    tokenizer = byte_fallback_tokenizer()
    letter, stray, word = (tokenizer.get_vocab()[token] for token in ("<0x6E>", "<0xFF>", "word"))
    assert tokenizer.batch_decode([[letter], [letter, stray]]) == ["n", "\ufffd\ufffd"]
    watcher = Watcher("never")
    check = StopCheck(tokenizer, (), watcher)
    tokens = [word, letter, stray, word, letter, word]
    for length in range(1, len(tokens) + 1):
        check([0], [tokens[:length]])
    spoilt = "word\ufffd\ufffdword"
    assert watcher.seen == ["word", "word", "word", spoilt, spoilt, f"{spoilt}nword"]


def byte_fallback_tokenizer() -> "PreTrainedTokenizerBase":
    """Make a tokenizer that, as those of many Llamas, writes characters it does not know byte by byte."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "word"]
    vocabulary = {name: place for place, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def test_a_decision_is_never_shown_what_may_become_a_stop_string(tiny_tokenizer: "PreTrainedTokenizerBase") -> None:
    r"""The gold answer `19` overlaps the stop string `9\n`: the reply `19\n` is cut to `1`, so `19` is not settled."""
    watcher = Watcher("19")
    check = StopCheck(tiny_tokenizer, ("9\n", "9 or"), watcher)
    tokens = [token for character in "19 of" for token in ids(tiny_tokenizer, character)]
    over = [check([0], [tokens[:length]]) for length in range(1, len(tokens) + 1)]
    assert watcher.seen == ["1", "1", "1", "1", "19 of"]
    assert over == [[False]] * 4 + [[True]]


def test_characters_that_a_tokenizer_may_still_clean_up_are_not_shown(
    tiny_tokenizer: "PreTrainedTokenizerBase", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_tokenizer, "clean_up_tokenization_spaces", True)
    watcher = Watcher("never")
    StopCheck(tiny_tokenizer, (), watcher)([0, 1], [ids(tiny_tokenizer, text) for text in ("a red fox", "abc")])
    assert watcher.seen == ["a red", ""]


def test_long_replies_are_looked_at_now_and_then_but_for_stop_strings_always(
    tiny_tokenizer: "PreTrainedTokenizerBase",
) -> None:
    watcher = Watcher("never")
    check = StopCheck(tiny_tokenizer, ("STOP",), watcher)
    for length in range(1, 3 * SHORT + 1):
        assert check([0], [ids(tiny_tokenizer, "z") * length]) == [False]
    shown = [len(text) for text in watcher.seen]
    assert shown == [*range(1, SHORT + 1), *range(SHORT + INTERVAL, 3 * SHORT + 1, INTERVAL)]
