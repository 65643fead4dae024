"""Multiple choice: by the letter that the model writes, or by the choice that it finds most likely.

How a letter is read from a free reply is in `choice_letters.py`, and so is the published way. The likelihood method
needs no generation: it compares how likely each choice is as the continuation of the prompt, as lm-evaluation-harness
does.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.asking import Asks
from swarm_lightning.objectives.checks import check_one_of
from swarm_lightning.objectives.choice_letters import (
    choice_is_settled,
    published_choice_is_settled,
    read_choice,
    read_published_choice,
)
from swarm_lightning.objectives.likelihoods import Likelihoods
from swarm_lightning.objectives.prompts import CHOICES_TEMPLATE
from swarm_lightning.objectives.protocol import LanguageModel, Likelihood, Objective, Outcome, score_all

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

METHODS = ("generate", "likelihood")
SCORED = ("letter", "text")
NORMALIZE = ("none", "tokens", "characters")
RULES = ("published",)
NO_CHOICE = -1  # the place of the most likely choice where none has a likelihood
NEVER = -2  # the place of the right choice where there is none


class MultipleChoice(Asks, Objective):
    """Score 1 for the right choice, and 0 for a wrong one or none.

    Methods:
        generate: The model replies, and the choice is read from the reply by `read_choice`, or with rule: published by
            `read_published_choice`.
        likelihood: The choice with the greatest log-likelihood after the prompt; the first of equals.
    """

    bounds: tuple[float, float] = (0.0, 1.0)

    def __init__(
        self,
        method: Literal["generate", "likelihood"] = "generate",
        scored: Literal["letter", "text"] = "letter",
        normalize: Literal["none", "tokens", "characters"] = "none",
        template: str | None = None,
        rule: Literal["published"] | None = None,
        **asking: Any,
    ) -> None:
        r"""Set the method and how the model is prompted.

        Args:
            method: generate (read the letter from a reply) or likelihood (compare the choices as continuations).
            scored: With likelihood, what is compared: the letter of a choice, or its text.
            normalize: With likelihood, whether to divide by the number of tokens or of characters of the continuation.
            template: Prompt with placeholders in braces; null: `Question: {question}\n{choices}\nThe answer is`.
            rule: With generate, how the letter is read: null accepts only a letter that stands alone and does not
                guess; published accepts any letter in the first or last five characters, as the paper's code does.
            **asking: Prompt and generation settings; see `Asks`. The generation settings apply to generate only.

        Raises:
            InputError: If a value can't be used.
        """
        super().__init__(CHOICES_TEMPLATE if template is None else template, **asking)
        check_one_of("method", method, METHODS)
        check_one_of("scored", scored, SCORED)
        check_one_of("normalize", normalize, NORMALIZE)
        if method == "generate" and (scored, normalize) != ("letter", "none"):
            raise InputError(
                f"Expected scored and normalize only with method: likelihood, but got scored {scored} and normalize "
                f"{normalize} with method: generate. Set method: likelihood, or leave them out."
            )
        if rule is not None:
            check_one_of("rule", rule, RULES)
        if rule is not None and method == "likelihood":
            raise InputError(
                f"Expected rule only with method: generate, but got rule: {rule} with method: likelihood, which reads "
                "no replies. Set method: generate, or leave rule out."
            )
        if method == "likelihood" and self.settings.sampled:
            raise InputError(
                f"Expected temperature only with method: generate, but got {self.settings.temperature} with method: "
                "likelihood, which draws nothing. Set method: generate, or leave temperature out."
            )
        self.method = method
        self.scored = scored
        self.normalize = normalize
        self.rule = rule

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Refuse examples without choices or whose answer is none of them, and prompts that can't be made."""
        for example in examples:
            choices = _choices(example)
            if example.answer not in choices:
                raise InputError(
                    f"Expected the answer of example {example.identifier!r} to be one of its choices "
                    f"({', '.join(choices)}), but it is {example.answer!r}. Correct it, or leave the example out."
                )
        super().check(examples, tokenizer)

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Ask a model and score what it chooses.

        Args:
            examples: What to ask; examples may repeat.
            model: What answers.

        Returns:
            One outcome per example; its answer is a letter, its score 1 or 0.
        """
        if self.method == "likelihood":
            return self._compare(examples, model)
        replies = self.ask(examples, model, self.is_settled)
        return score_all(self.score, replies, examples)

    def is_settled(self, text: str, example: Example) -> bool:
        """Tell whether a reply that begins like this means the same choice however it goes on.

        Args:
            text: The beginning of a reply.
            example: With the choices.
        """
        is_settled = choice_is_settled if self.rule is None else published_choice_is_settled
        return is_settled(text, _choices(example))

    def score(self, reply: str, example: Example) -> Outcome:
        """Read the choice from a reply and compare it with the right one.

        Args:
            reply: The model's text.
            example: With the choices and the right letter.

        Returns:
            The outcome; its answer is the letter, or None where the reply means no choice or several.
        """
        read = read_choice if self.rule is None else read_published_choice
        letter = read(reply, _choices(example))
        return Outcome(reply, letter, float(letter is not None and letter == example.answer))

    def likelihoods(self, examples: Sequence[Example], model: LanguageModel) -> Likelihoods:
        """Measure how likely a model finds every choice behind the prompt: its letter, or as `scored` says.

        Args:
            examples: What to ask; examples may repeat.
            model: What answers.

        Returns:
            For every example one likelihood per choice, in their order.
        """
        prompts, continuations = self.continuations(examples, model.tokenizer)
        found = model.loglikelihood(prompts, continuations, add_special_tokens=self.template.add_special_tokens)
        return Likelihoods.of(found)

    def continuations(
        self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase"
    ) -> tuple[list[str], list[tuple[str, ...]]]:
        """Return the prompts, and how every choice stands behind its prompt: its letter, or as `scored` says.

        Args:
            examples: What to ask; examples may repeat.
            tokenizer: The base model's.
        """
        prompts = self.template.render_all(examples, tokenizer)
        asked = {id(example): (example, prompt) for example, prompt in zip(examples, prompts, strict=True)}
        behind = {key: self._continuations(*one) for key, one in asked.items()}
        return prompts, [behind[id(example)] for example in examples]

    def scores(self, likelihoods: Likelihoods, examples: Sequence[Example]) -> "Tensor":
        """Score what models find most likely; see `ScoresLikelihoods`."""
        import torch

        right = [NEVER if place is None else place for place in map(right_place, examples)]
        chosen = _most_likely(likelihoods, self.normalize).view(-1, len(examples))
        return (chosen == torch.tensor(right)).double().flatten()

    def _compare(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        return score_all(_chosen, all_most_likely(self.likelihoods(examples, model), self.normalize), examples)

    def _continuations(self, example: Example, prompt: str) -> tuple[str, ...]:
        choices = _choices(example)
        texts = choices if self.scored == "letter" else choices.values()
        return tuple(self.template.continued(prompt, text) for text in texts)


def right_place(example: Example) -> int | None:
    """Return the place of the right choice; None where the answer is none of the choices.

    >>> right_place(Example("?", "B", choices={"A": "one", "B": "two"}))
    1
    """
    letters = list(example.choices or {})
    return letters.index(example.answer) if example.answer in letters else None


def most_likely(likelihoods: Sequence[Likelihood], normalize: str) -> int | None:
    """Return the place of the most likely continuation.

    Args:
        likelihoods: One per continuation.
        normalize: none, tokens or characters: what each is divided by.

    Returns:
        The place of the greatest, the first of equals, or None where none is a number.

    >>> short, long = Likelihood(-2.0, tokens=1, characters=2), Likelihood(-3.0, tokens=3, characters=9)
    >>> most_likely([short, long], "none"), most_likely([short, long], "tokens")
    (0, 1)
    """
    best, best_value = None, float("-inf")
    for place, likelihood in enumerate(likelihoods):
        value = likelihood.logarithm / size_of(likelihood, normalize)
        if value > best_value or (best is None and value == best_value):
            best, best_value = place, value
    return best


def all_most_likely(likelihoods: Likelihoods, normalize: str) -> list[int | None]:
    """Return the place of the most likely continuation of every row; see `most_likely`.

    Args:
        likelihoods: Of R rows.
        normalize: none, tokens or characters: what each is divided by.

    >>> rows = [[Likelihood(-3.0, 1, 1), Likelihood(-2.0, 1, 1)], [Likelihood(float("nan"), 1, 1)]]
    >>> all_most_likely(Likelihoods.of(rows), "none")
    [1, None]
    """
    return [None if place == NO_CHOICE else place for place in _most_likely(likelihoods, normalize).tolist()]


def _most_likely(likelihoods: Likelihoods, normalize: str) -> "Tensor":
    """Return the places [R], `NO_CHOICE` where there is none."""
    # A stable sort keeps the first of equals in front.
    places = likelihoods.divided(normalize).sort(dim=1, descending=True, stable=True).indices[:, 0]
    for row in {*likelihoods.broken(), *likelihoods.empty()}:
        place = most_likely(likelihoods[row], normalize)
        places[row] = NO_CHOICE if place is None else place
    return places


def size_of(likelihood: Likelihood, normalize: str) -> int:
    """Return what the logarithm of a likelihood is divided by: 1, or its tokens or characters."""
    return {"none": 1, "tokens": likelihood.tokens, "characters": likelihood.characters}[normalize]


def _chosen(place: int | None, example: Example) -> Outcome:
    """Score the choice at a place; None where there is none."""
    letter = None if place is None else list(_choices(example))[place]
    return Outcome(letter or "", letter, float(letter is not None and letter == example.answer))


def _choices(example: Example) -> dict[str, str]:
    choices = dict(example.choices or {})
    if len(choices) < 2 or not all(letter.strip() and text.strip() for letter, text in choices.items()):
        raise InputError(
            f"Expected two or more choices, each with a letter and a text, in every example, but example "
            f"{example.identifier!r} ({example.question[:60]!r}) has {choices!r}. Add them, or leave the example out."
        )
    return choices
