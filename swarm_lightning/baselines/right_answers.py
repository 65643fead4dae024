"""The right answers of validation examples as rows of tokens, for what is trained on them with gradients.

Prompts and answers are those of the objective's smooth guide, tokenised as the guide measures them. What the guide says
of an example can so be told from the rows' log-probabilities, through which gradients flow. Of several tasks, every
example is asked as its own task does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.engine.engine import Engine
from swarm_lightning.evaluation.engine.tokens import Continuation
from swarm_lightning.objectives.exact_match import ExactMatch
from swarm_lightning.objectives.guides import FLOOR, GoldLikelihood
from swarm_lightning.objectives.multiple_choice import MultipleChoice
from swarm_lightning.objectives.protocol import HasTasks, Objective
from swarm_lightning.tuning.batches import pad
from swarm_lightning.tuning.rendering import IGNORED, TokenExample

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class RightAnswer:
    """One example.

    Attributes:
        choices: The prompt with every choice, or with the right answer alone where there are no choices; only what
            stands behind the prompt has labels.
        sizes: What the guide divides each one's log-probability by.
        place: Which of them is right.
        closed: The prompt with the right answer and the end token, both with labels.
    """

    choices: tuple[TokenExample, ...]
    sizes: tuple[int, ...]
    place: int
    closed: TokenExample

    @property
    def tokens(self) -> int:
        """How many tokens of `closed` are trained."""
        return sum(label != IGNORED for label in self.closed.labels)


def right_answers(objective: Objective, examples: Sequence[Example], engine: Engine) -> list[RightAnswer]:
    """Return what is trained on.

    Args:
        objective: How the examples are put to the model.
        examples: M examples.
        engine: Whose tokenizer is used.

    Raises:
        Absent: If the objective or an example has no right answer.
    """
    if isinstance(objective, HasTasks):
        return [right_answers(objective.tasks[example.task], [example], engine)[0] for example in examples]
    if not isinstance(objective, ExactMatch | MultipleChoice):
        raise Absent(f"it trains on right answers, and {type(objective).__name__} has none")
    asks = objective if isinstance(objective, MultipleChoice) else GoldLikelihood(objective)
    prompts, texts = asks.continuations(examples, engine.tokenizer)
    if not all(texts):
        raise Absent("it trains on right answers, and not every validation example has one")
    encoded = engine.encode_continuations(prompts, texts, objective.template.add_special_tokens)
    end = engine.tokenizer.eos_token_id
    found = []
    for example, row, said in zip(examples, encoded, texts, strict=True):
        tokens = [len(one.ids) - one.split for one in row]
        place, sizes = 0, tokens
        if isinstance(objective, MultipleChoice):
            place = list(example.choices or {}).index(str(example.answer))
            characters = [len(text.strip()) for text in said]
            sizes = {"none": [1] * len(row), "tokens": tokens, "characters": characters}[objective.normalize]
        right = row[place]
        closed = right if end is None else Continuation((*right.ids, int(end)), right.split)
        found.append(RightAnswer(tuple(map(_labelled, row)), tuple(sizes), place, _labelled(closed)))
    return found


def logarithms_of(model: "PreTrainedModel", rows: Sequence[TokenExample]) -> Tensor:
    """Return the log-probability of what has labels in every row, in nats [R] float32.

    What the model reads of a row is all but its last token; rows that agree in it, as the letters of choices behind one
    prompt do, are read once.

    Args:
        model: The resident model, with what it carries; gradients reach that.
        rows: R rows; they share one forward pass.
    """
    read = {row.input_ids[:-1]: TokenExample(row.input_ids[:-1], row.labels[:-1]) for row in rows}
    ordered = sorted(read, key=lambda ids: -len(ids))
    places = {ids: place for place, ids in enumerate(ordered)}
    batch = pad([read[ids] for ids in ordered], None, 0)[0]  # no attention is paid to what fills rows
    device = model.device
    attention = batch["attention_mask"].to(device)
    logits = model(input_ids=batch["input_ids"].to(device), attention_mask=attention, use_cache=False).logits
    wanted = [  # the logits at a place say what comes next
        (row, places[one.input_ids[:-1]], column - 1, label)
        for row, one in enumerate(rows)
        for column, label in enumerate(one.labels)
        if label != IGNORED
    ]
    owners, lines, columns, labels = torch.tensor(wanted, device=logits.device).T
    found = logits[lines, columns].float().log_softmax(dim=-1).gather(1, labels[:, None])[:, 0]
    return found.new_zeros(len(rows)).index_add(0, owners, found)


def guide_losses(model: "PreTrainedModel", answers: Sequence[RightAnswer]) -> Tensor:
    """Return what the guide says of examples, with the opposite sign, in nats [k]: the less, the better.

    Args:
        model: The resident model, with what it carries.
        answers: k examples.
    """
    found = logarithms_of(model, [row for answer in answers for row in answer.choices])
    losses = []
    for answer, own in zip(answers, found.split([len(answer.choices) for answer in answers]), strict=True):
        values = own / torch.tensor(answer.sizes, device=own.device)
        # One text alone is an exact match's; the same as `guides.softened`, with gradients.
        said = values.log_softmax(dim=0) if len(values) > 1 else ((values.exp() + FLOOR) / (1 + FLOOR)).log()
        losses.append(-said[answer.place])
    return torch.stack(losses)


def _labelled(row: Continuation) -> TokenExample:
    return TokenExample(row.ids, (*[IGNORED] * row.split, *row.ids[row.split :]))
