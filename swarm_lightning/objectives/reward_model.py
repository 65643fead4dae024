"""Reward model: how highly a model that was trained on preferences rates a reply, mapped to [0, 1].

Rewards have no scale of their own. They are mapped by two bounds: those the user gives, or the lowest and the highest
that the base model gets on the examples that guide the search, measured once before it and kept in its checkpoint.

Source: google-research/google-research, model_swarm/reward_modeling.py. There the bounds are constants, `reverse` is
the negative reward, and lengths (10 to 201) are counted by the reward model's tokenizer, which adds one token.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from swarm_lightning.data.examples import Example
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.asking import Asks, Unscored
from swarm_lightning.objectives.checks import check_at_least_one, check_one_of, check_same_model
from swarm_lightning.objectives.conversations import Conversations
from swarm_lightning.objectives.protocol import LanguageModel, Objective, Outcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from swarm_lightning.objectives.sequence_classifier import SequenceClassifier

VARIANTS = ("default", "concise", "verbose", "reverse")


def between(value: float, lowest: float, highest: float) -> float:
    """Return where a value lies between two bounds: 0 at the lowest and below, 1 at the highest and above.

    >>> between(1.0, -1.0, 3.0), between(9.0, -1.0, 3.0)
    (0.5, 1.0)
    """
    return min(max((value - lowest) / (highest - lowest), 0.0), 1.0)


def with_length(variant: str, reward: float, length: float) -> float:
    """Return the score of a reply.

    Args:
        variant: `default`: the reward; `reverse`: 1 - reward; `verbose` and `concise`: the mean of the reward and of
            how long, or how short, the reply is.
        reward: In [0, 1].
        length: In [0, 1].

    Returns:
        A number in [0, 1].

    >>> [with_length(variant, 0.75, 0.25) for variant in ("default", "concise", "verbose", "reverse")]
    [0.75, 0.75, 0.5, 0.25]
    """
    if variant == "reverse":
        return 1.0 - reward
    if variant == "default":
        return reward
    return (reward + (length if variant == "verbose" else 1.0 - length)) / 2


class RewardModel(Asks, Objective):
    """Score a reply by the reward that a sequence-classification model gives it, in [0, 1]."""

    bounds: tuple[float, float] = (0.0, 1.0)

    def __init__(
        self,
        model: str,
        variant: Literal["default", "concise", "verbose", "reverse"] = "default",
        lowest: float | None = None,
        highest: float | None = None,
        shortest_reply: int = 10,
        longest_reply: int = 200,
        output: str | None = None,
        reward_template: str | None = None,
        max_tokens: int | None = None,
        batch_size: int = 8,
        device: str | None = None,
        dtype: str = "auto",
        trust_remote_code: bool = False,
        template: str = "{question}",
        max_new_tokens: int = 200,
        **asking: Any,
    ) -> None:
        r"""Set the reward model, the scale and how the model is prompted.

        Args:
            model: Folder or hub id of the reward model (safetensors).
            variant: default: the reward; reverse: 1 - reward; verbose and concise: the mean of the reward and the
                length, or shortness, of the reply, both in [0, 1].
            lowest: Reward mapped to 0; null: the lowest of the base model's replies on the validation examples.
            highest: Reward mapped to 1; null: the highest of the base model's replies on the validation examples.
            shortest_reply: Length in tokens of the base's tokenizer up to which a reply counts as shortest, >= 0.
            longest_reply: Length in tokens from which a reply counts as longest, > shortest_reply.
            output: Name of the output that is the reward, if the model has several.
            reward_template: Text with {prompt} and {reply} for a reward model without a chat template.
            max_tokens: Maximum number of tokens of a prompt with its reply; null: the limit of the reward model. Longer
                inputs are cut at the beginning of the prompt, or at the end of the reply if it alone is too long.
            batch_size: Number of replies per forward pass of the reward model, >= 1.
            device: Device of the reward model, such as cpu or cuda:1; null: that of the base.
            dtype: Data type of the reward model: auto as stored, float32, bfloat16 or float16.
            trust_remote_code: Whether code that ships with the reward model may run.
            template: Prompt with placeholders in braces; the reward model sees it as the user turn.
            max_new_tokens: Maximum number of tokens of a reply, >= 1.
            **asking: Prompt and generation settings; see `Asks`. The reward model does not see the system turn.

        Raises:
            InputError: If a value can't be used.
        """
        super().__init__(template, max_new_tokens, **asking)
        check_one_of("variant", variant, VARIANTS)
        check_at_least_one("batch_size", batch_size)
        if max_tokens is not None:
            check_at_least_one("max_tokens", max_tokens)
        if not 0 <= shortest_reply < longest_reply:
            raise InputError(
                "Expected shortest_reply to be 0 or more and longest_reply to be larger, but got "
                f"{shortest_reply} and {longest_reply}."
            )
        for name, value in (("lowest", lowest), ("highest", highest)):
            if value is not None and not math.isfinite(value):
                raise InputError(f"Expected {name} to be a finite number or null, but got {value}.")
        if lowest is not None and highest is not None and lowest >= highest:
            raise InputError(f"Expected lowest to be below highest, but got {lowest} and {highest}.")
        self.model = model
        self.variant = variant
        self.lowest = lowest
        self.highest = highest
        self.shortest_reply = shortest_reply
        self.longest_reply = longest_reply
        self.output = output
        self.reward_template = reward_template
        self.max_tokens = max_tokens
        self.dtype = dtype
        self._batch_size = batch_size
        self._device = device
        self._trust_remote_code = trust_remote_code
        self._classifier: SequenceClassifier | None = None
        self._conversations: Conversations | None = None
        self._reward = 0
        self._measured: tuple[float, float] | None = None

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Load the reward model, and refuse one that can't be used, and prompts that can't be made."""
        super().check(examples, tokenizer)
        self._load()

    def prepare(self, examples: Sequence[Example], model: LanguageModel) -> None:
        """Measure the lowest and the highest reward of the base model's replies, where they are not given.

        Args:
            examples: The examples that guide the search.
            model: The base model alone.

        Raises:
            InputError: If all replies are rated alike.
        """
        self._load().move(self._device or model.device)
        if self.lowest is not None and self.highest is not None:
            return
        rewards = self.rewards(examples, self.ask(examples, model))
        lowest = min(rewards) if self.lowest is None else self.lowest
        highest = max(rewards) if self.highest is None else self.highest
        if lowest >= highest:
            raise InputError(
                f"Expected replies of the base model with different rewards to measure bounds by, but they reach from "
                f"{min(rewards):g} to {max(rewards):g}, and the bounds would be {lowest:g} and {highest:g}. Give "
                "lowest and highest."
            )
        self._measured = (lowest, highest)

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Ask a model and rate its replies.

        Args:
            examples: What to ask; examples may repeat.
            model: What answers.

        Returns:
            One outcome per example, with no answer that a vote could count.

        Raises:
            InputError: If the bounds are neither given nor measured, or a reward is no finite number.
        """
        lowest, highest = self.scale()
        self._load().move(self._device or model.device)  # before the base takes what is free
        replies = self.ask(examples, model)
        rewards = self.rewards(examples, replies)
        tokens = model.tokenizer(replies, add_special_tokens=False, verbose=False)["input_ids"] if replies else []
        return [
            Outcome(
                reply,
                None,
                with_length(
                    self.variant,
                    between(reward, lowest, highest),
                    between(len(ids), self.shortest_reply, self.longest_reply),
                ),
            )
            for reply, reward, ids in zip(replies, rewards, tokens, strict=True)
        ]

    def scale(self) -> tuple[float, float]:
        """Return the rewards that map to 0 and to 1.

        Raises:
            InputError: If they are neither given nor measured.
        """
        if self.lowest is not None and self.highest is not None:
            return self.lowest, self.highest
        if self._measured is None:
            raise InputError(
                "Expected the bounds of the rewards, but they are neither given nor in the checkpoint. Give lowest and "
                "highest, or a checkpoint of a search by this reward model."
            )
        return self._measured

    def rewards(self, examples: Sequence[Example], replies: Sequence[str]) -> list[float]:
        """Return the rewards of replies as the reward model gives them; the same pair is rated once.

        Args:
            examples: What was asked.
            replies: One per example.

        Raises:
            InputError: If a reward is no finite number.
        """
        classifier = self._load()
        assert self._conversations is not None
        pairs = [(self.template.fill(example), reply.strip()) for example, reply in zip(examples, replies, strict=True)]
        new = list(dict.fromkeys(pairs))
        outputs = classifier.outputs([self._conversations.encode(*pair) for pair in new])[:, self._reward]
        if not outputs.isfinite().all():
            raise InputError(
                f"Expected finite rewards from {self.model!r}, but got {outputs[~outputs.isfinite()][0]:g}. Set dtype: "
                "float32 or bfloat16, or use another reward model."
            )
        known = dict(zip(new, outputs.tolist(), strict=True))
        return [known[pair] for pair in pairs]

    def replies_only(self) -> Unscored:
        """Return an objective that asks the same and needs no reward model."""
        return Unscored(self)

    def state_dict(self) -> dict[str, Any]:
        """Return the measured bounds, and what tells the reward model from any other."""
        lowest, highest = self._measured or (None, None)
        fingerprint = None if self._classifier is None else self._classifier.fingerprint
        return {"lowest": lowest, "highest": highest, "fingerprint": fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the bounds that the search began with.

        Raises:
            InputError: If it began with another reward model.
        """
        check_same_model("reward model", self.model, self.state_dict(), state)
        self._measured = None if state["lowest"] is None else (state["lowest"], state["highest"])

    def _load(self) -> "SequenceClassifier":
        if self._classifier is None:
            from swarm_lightning.objectives.sequence_classifier import SequenceClassifier

            classifier = SequenceClassifier(
                self.model, "a reward model", self.dtype, self._batch_size, self.max_tokens, self._trust_remote_code
            )
            if self.output is not None:
                self._reward = classifier.place_of(self.output, "output")
            elif len(classifier.labels) != 1:
                raise InputError(
                    f"Expected a reward model with one output, but {self.model!r} has {len(classifier.labels)} "
                    f"({', '.join(classifier.labels)}). Say which one is the reward, such as "
                    f"output: {classifier.labels[-1]}, or use another model."
                )
            self._conversations = Conversations(classifier.tokenizer, self.reward_template, classifier.limit)
            self._classifier = classifier
        return self._classifier
