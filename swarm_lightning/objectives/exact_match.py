"""Exact match: a generated reply against a gold text, by one of five rules.

The rule `contained` is that of the published code: the gold answer occurs somewhere in the reply, character for
character, even inside a word or a longer number (gold `5` is contained in `15`). For arithmetic the published code
looks at the last words only, `last_five_words`, and is as lenient there; choose `last_number` to compare numbers.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.answers import last_number, last_words, normalise, write_number
from swarm_lightning.objectives.asking import Asks
from swarm_lightning.objectives.checks import check_one_of
from swarm_lightning.objectives.prompts import QUESTION_TEMPLATE
from swarm_lightning.objectives.protocol import LanguageModel, Objective, Outcome, score_all

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RULES = ("contained", "exact", "last_number", "last_five_words", "regex")
# How the answers of openai/gsm8k end, after the working.
_WORKING = re.compile(r"\n####[ \t]*(?P<answer>[^\n]*\S)\s*$")


class ExactMatch(Asks, Objective):
    r"""Score 1 for a reply that gives the gold answer, and 0 for any other.

    Rules:
        contained: The gold answer, stripped of surrounding white space, occurs in the reply.
        exact: Reply and gold answer are equal after `normalise`, which ignores extra white space and a final full stop.
        last_number: The last number of the reply equals that of the gold answer; `1,000` equals `1000.0`. A gold answer
            may contain its working, as in `48/2 = 24\n#### 24`.
        last_five_words: The gold answer, stripped, occurs in the last five words of the reply,
            even inside a word or a longer number: the published rule for the validation split of GSM8K (for its test
            split the published code looks at ten words). Words are separated by single spaces; see `last_words`.
        regex: The group of the pattern's first match in the reply equals the gold answer after `normalise`.
    """

    bounds: tuple[float, float] = (0.0, 1.0)

    def __init__(
        self,
        rule: Literal["contained", "exact", "last_number", "last_five_words", "regex"] = "contained",
        pattern: str | None = None,
        ignore_case: bool = False,
        template: str | None = None,
        **asking: Any,
    ) -> None:
        r"""Set the rule and how the model is prompted.

        Args:
            rule: How a reply is compared with the gold answer: contained, exact, last_number, last_five_words or regex.
            pattern: Regular expression with one group that captures the answer; for the rule regex only.
            ignore_case: Whether to ignore case.
            template: Prompt with placeholders in braces; null: `Question: {question}\nAnswer:`.
            **asking: Prompt and generation settings; see `Asks`.

        Raises:
            InputError: If a value can't be used.
        """
        super().__init__(QUESTION_TEMPLATE if template is None else template, **asking)
        check_one_of("rule", rule, RULES)
        self.rule = rule
        self.pattern = _compile(rule, pattern, ignore_case)
        self.ignore_case = ignore_case

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Refuse examples without a gold answer that the rule can compare with, and prompts that can't be made."""
        for example in examples:
            if example.answer is None or not example.answer.strip():
                raise InputError(
                    f"Expected a gold answer in every example, but example {example.identifier!r} "
                    f"({example.question[:60]!r}) has {example.answer!r}. Add it, or leave the example out."
                )
            if self.read(example.answer, gold=True) is None:
                raise InputError(
                    f"Expected a gold answer that the rule {self.rule} can read, but example {example.identifier!r} "
                    f"has {example.answer!r}. Correct the answer, or choose another rule."
                )
            working = None if self.rule == "last_number" else _WORKING.search(example.answer)
            if working is not None:
                raise InputError(
                    f"Expected a gold answer that a reply can give, but that of example {example.identifier!r} holds "
                    f"its working, and ends with '#### {working['answer']}'. Set rule: last_number, which reads the "
                    f"number behind it, or store {working['answer']!r} alone as the answer."
                )
        super().check(examples, tokenizer)

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Ask a model and score its replies.

        Args:
            examples: What to ask; examples may repeat.
            model: What answers.

        Returns:
            One outcome per example; its score is 1 or 0.
        """
        replies = self.ask(examples, model, self.is_settled)
        return score_all(self.score, replies, examples)

    def is_settled(self, text: str, example: Example) -> bool:
        """Tell whether a reply that begins like this gets the same score however it goes on.

        With the rule contained, the gold answer has appeared; with exact, the reply has turned to something else. With
        the other rules what is still to come counts, so no reply is settled.

        Args:
            text: The beginning of a reply.
            example: With the gold answer; without one the score is 0 in any case.
        """
        if example.answer is None:
            return True
        if self.rule == "contained":
            return self.score(text, example).score == 1.0
        if self.rule == "exact":
            gold = normalise(example.answer, self.ignore_case)
            joined = " ".join(text.split())
            begun = joined.casefold() if self.ignore_case else joined
            return not any(f"{gold}{end}".startswith(begun) for end in (".", " ."))
        return False

    def score(self, reply: str, example: Example) -> Outcome:
        """Compare one reply with the gold answer of its example.

        Args:
            reply: The model's text.
            example: With the gold answer; without one the score is 0.

        Returns:
            The outcome. The answer that a vote counts is the normalised reply, or what the rule extracts from it.
        """
        answer = self.read(reply)
        if example.answer is None or answer is None:
            return Outcome(reply, answer, 0.0)
        if self.rule in ("contained", "last_five_words"):
            gold, text = example.answer.strip(), last_words(reply, 5) if self.rule == "last_five_words" else reply
            right = gold.casefold() in text.casefold() if self.ignore_case else gold in text
        else:
            right = answer == self.read(example.answer, gold=True)
        return Outcome(reply, answer, float(right))

    def read(self, text: str, gold: bool = False) -> str | None:
        """Read the answer out of a text, in the form that is compared and counted.

        Args:
            text: A reply or a gold answer.
            gold: Whether it is a gold answer, to which the rule regex does not apply its pattern.

        Returns:
            The answer, or None where the text has none.
        """
        if self.rule == "last_number":
            number = last_number(text)
            return None if number is None else write_number(number)
        if self.rule == "last_five_words" and not gold:
            text = last_words(text, 5)
        if self.pattern is not None and not gold:
            match = self.pattern.search(text)
            text = "" if match is None else match[1] or ""
        return normalise(text, self.ignore_case) or None


def _compile(rule: str, pattern: str | None, ignore_case: bool) -> re.Pattern[str] | None:
    if rule != "regex":
        if pattern is not None:
            raise InputError(
                f"Expected a pattern only with the rule regex, but got {pattern!r} with the rule {rule}. "
                "Set rule: regex, or leave the pattern out."
            )
        return None
    if pattern is None:
        raise InputError("Expected a pattern with the rule regex, but got none. Give one such as 'answer is (\\w+)'.")
    try:
        compiled = re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise InputError(f"Expected a regular expression as pattern, but {pattern!r} is not valid: {error}.") from error
    if compiled.groups != 1:
        raise InputError(
            f"Expected a pattern with one group, which is the answer, but {pattern!r} has {compiled.groups}. "
            "Write ( ) around the answer and (?: ) around anything else."
        )
    return compiled
