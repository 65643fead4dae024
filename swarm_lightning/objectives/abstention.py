"""Abstention: a model answers, is asked whether its own answer is right, and keeps it back where it says no.

The utility is the effective reliability, (right answers given - wrong answers given) / all. Questions, wording of the
second turn and score follow the published code for AbstainQA; how replies are read is this package's own. Source:
google-research, model_swarm/evaluate.py; self-reflection of arXiv:2402.00367; the score of arXiv:2204.13631.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.asking import Asks
from swarm_lightning.objectives.checks import check_one_of
from swarm_lightning.objectives.exact_match import ExactMatch
from swarm_lightning.objectives.multiple_choice import MultipleChoice
from swarm_lightning.objectives.prompts import CHOICES_TEMPLATE, QUESTION_TEMPLATE
from swarm_lightning.objectives.protocol import GenerationSettings, LanguageModel, Objective, Outcome, score_all
from swarm_lightning.objectives.verdicts import read_verdict, verdict_is_settled

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHOICE_RULES = ("choice", "published_choice")
RULES = (*CHOICE_RULES, "contained", "exact", "last_number", "last_five_words")
ABSTAINED = "(abstained)"
_ASKED = "Proposed answer: {answer}\nIs the proposed answer true or false? Directly answer with true or false.\nAnswer:"
REFLECTION_ON_CHOICES = "Question: {question}\n{choices}\n" + _ASKED
REFLECTION_TEMPLATE = "Question: {question}\n" + _ASKED


class Abstention(Asks, Objective):
    """Score 1 for a right answer that the model confirms, -1 for a wrong one, and 0 if it abstains.

    It abstains only if its second reply calls its own answer wrong (`read_verdict`). As in the published code, any
    other second reply keeps the answer, and a first reply without an answer counts as wrong unless it is taken back.
    If either counted as abstaining, a model that writes nonsense would score 0 and beat every model that answers fewer
    than half of the questions correctly.
    """

    bounds: tuple[float, float] = (-1.0, 1.0)

    def __init__(
        self,
        rule: Literal["choice", "published_choice", "contained", "exact", "last_number", "last_five_words"] = "choice",
        ignore_case: bool = False,
        template: str | None = None,
        reflection: str | None = None,
        reflection_max_new_tokens: int = 10,
        reflection_temperature: float | None = None,
        **asking: Any,
    ) -> None:
        r"""Set how answers are compared, and how the model is prompted in both turns.

        Args:
            rule: How the first reply is scored. For multiple choice: choice (its letter), or published_choice (the
                letter by the published rule, see MultipleChoice). For short gold answers, a rule of ExactMatch:
                contained, exact, last_number or last_five_words.
            ignore_case: Whether to ignore case; not available with the rules for multiple choice.
            template: Prompt of the first turn, with placeholders in braces; null: `Question: {question}\n{choices}\nThe
                answer is`, or `Question: {question}\nAnswer:` without choices.
            reflection: Prompt of the second turn; beside those of the first it may name `{answer}`, the answer read
                from the first reply (a choice as `B: text`; the whole reply where none could be read, and with the
                rules that compare whole replies), and `{reply}`, the whole first reply. Where not given,
                `Question: {question}\n{choices}\nProposed answer: {answer}\nIs the proposed answer true or false?
                Directly answer with true or false.\nAnswer:`.
            reflection_max_new_tokens: Maximum number of tokens of the second reply, >= 1.
            reflection_temperature: Temperature of the second reply, >= 0; null: that of the first. Above 0, top_p and
                top_k are those of the first reply too.
            **asking: Prompt and generation settings; see `Asks`. max_new_tokens and stop apply to the first turn, the
                rest to both. With chat, the second turn is a separate conversation.

        Raises:
            InputError: If a value can't be used.
        """
        check_one_of("rule", rule, RULES)
        of_choices = rule in CHOICE_RULES
        if of_choices and ignore_case:
            raise InputError(f"Expected ignore_case only with a rule for short gold answers, but got it with {rule}.")
        if template is None:
            template = CHOICES_TEMPLATE if of_choices else QUESTION_TEMPLATE
        if reflection is None:
            reflection = REFLECTION_ON_CHOICES if of_choices else REFLECTION_TEMPLATE
        super().__init__(template, **asking)
        self.rule = rule
        self.ignore_case = ignore_case
        # It only reads the first reply; what is asked is set here.
        if rule == "choice" or rule == "published_choice":
            self._reader: MultipleChoice | ExactMatch = MultipleChoice(rule=None if rule == "choice" else "published")
        else:
            self._reader = ExactMatch(rule, ignore_case=ignore_case)
        if not any(name in reflection for name in ("{answer}", "{reply}")):
            raise InputError(
                f"Expected the second prompt to show the model its answer, but {reflection!r} names neither {{answer}} "
                "nor {reply}. Put one of them in."
            )
        self.reflection = replace(self.template, template=reflection)
        temperature = self.settings.temperature if reflection_temperature is None else reflection_temperature
        filters = (self.settings.top_p, self.settings.top_k) if temperature > 0 else ()
        self.reflection_settings = GenerationSettings(reflection_max_new_tokens, (), temperature, *filters)

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Refuse examples that the first turn can't be scored on, and prompts of either turn that can't be made."""
        self._reader.check(examples, tokenizer)
        super().check(examples, tokenizer)
        self.reflection.check([self.proposal(example, Outcome("", None, 0.0)) for example in examples], tokenizer)

    def tokens_needed(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> int:
        """Return the most tokens that the prompt of either turn and the reply to it take together.

        The prompt of the second turn is the longest where the first reply is as long as it may be, and has no answer:
        then the whole of it is shown. A reply of T tokens is counted as T tokens of the second prompt; in another
        place, a tokenizer may need one more or less for the same text.

        Args:
            example: What will be asked.
            tokenizer: The base model's.
        """
        first, second = self.template, self.reflection
        reply = self.settings.max_new_tokens
        shown = reply
        if self.rule in CHOICE_RULES:
            choices = [f"{letter}: {text}" for letter, text in (example.choices or {}).items()]
            shown = max([reply, *(_tokens(tokenizer, text, special=False) for text in choices)])
        bare = second.render(replace(example, extras={**example.extras, "reply": "", "answer": ""}), tokenizer)
        holds = reply * second.template.count("{reply}") + shown * second.template.count("{answer}")
        return max(
            _tokens(tokenizer, first.render(example, tokenizer), first.add_special_tokens) + reply,
            _tokens(tokenizer, bare, second.add_special_tokens) + holds + self.reflection_settings.max_new_tokens,
        )

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Ask a model, show it its answers, and score those that it stands by.

        Args:
            examples: What to ask; examples may repeat.
            model: What answers.

        Returns:
            One outcome per example; its reply holds both turns, its score is 1, 0 or -1. What a vote counts is the
            answer, or that the model abstained.
        """
        # A first reply may end as soon as its letter is known, unless more of it is shown in the second turn.
        only_the_letter = self.rule in CHOICE_RULES and "{reply}" not in self.reflection.template
        replies = self.ask(examples, model, self._reader.is_settled if only_the_letter else None)
        answers = score_all(self._reader.score, replies, examples)
        made: dict[tuple[int, str], Example] = {}  # many particles give the same reply to the same example
        for example, answer in zip(examples, answers, strict=True):
            if (id(example), answer.reply) not in made:
                made[id(example), answer.reply] = self.proposal(example, answer)
        proposals = [made[id(example), answer.reply] for example, answer in zip(examples, answers, strict=True)]
        verdicts = self.reflection.ask(
            proposals, model, self.reflection_settings, lambda text, _: verdict_is_settled(text)
        )
        return [self.score(answer, verdict) for answer, verdict in zip(answers, verdicts, strict=True)]

    def proposal(self, example: Example, answer: Outcome) -> Example:
        """Return an example with what the model replied, for the prompt of the second turn.

        Args:
            example: What was asked.
            answer: What came of the first turn.
        """
        reply = answer.reply.strip()
        shown = reply
        if self.rule in CHOICE_RULES and answer.answer is not None:
            shown = f"{answer.answer}: {(example.choices or {})[answer.answer]}"
        elif self.rule == "last_number" and answer.answer is not None:
            shown = answer.answer
        return replace(example, extras={**example.extras, "reply": reply, "answer": shown})

    def score(self, answer: Outcome, verdict: str) -> Outcome:
        """Put both turns together.

        Args:
            answer: What came of the first turn.
            verdict: The second reply.

        Returns:
            The outcome of both.
        """
        abstains = read_verdict(verdict) is False
        said = f"{answer.reply}\nIs that true or false? {verdict.strip()} -> {'abstains' if abstains else 'answers'}"
        if abstains:
            return Outcome(said, ABSTAINED, 0.0)
        return Outcome(said, answer.answer, 1.0 if answer.score == 1.0 else -1.0)


def _tokens(tokenizer: "PreTrainedTokenizerBase", text: str, special: bool) -> int:
    return len(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
