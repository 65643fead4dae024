"""What a node of a graph is told: an instruction, the replies of the nodes that it reads, and the question.

Source: arXiv:2502.04510, section 2, and BunsenFeng/heterogeneous_swarm, evaluate.py, for the order of the three and for
line breaks in replies, which become spaces. The wording of the instructions is our own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from swarm_lightning.data.chat_templates import ChatTemplate
from swarm_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CUT = "... "  # in front of what is left of a reply
PROBES = ("first probe", "reply probe", "second probe")
FIRST = "Answer the following question."
INNER = (
    "Other models have answered the following question before you. Answer it yourself: use what is right in their "
    "responses, and pass over what is wrong or does not help."
)
LAST = (
    "Other models have answered the following question before you. Give the final answer: use what is right in their "
    "responses, and pass over what is wrong or does not help."
)
RESPONSE = "Previous response {number}: {reply}"


@dataclass(frozen=True)
class Instructions:
    """What nodes are told beside the question; an empty text leaves a line out.

    Attributes:
        first: To a node that reads no replies.
        inner: To one that reads replies, and whose reply is read.
        last: To the end, whose reply counts.
        response: How a reply that is read is written, `{number}` from 1 and `{reply}`.
    """

    first: str = FIRST
    inner: str = INNER
    last: str = LAST
    response: str = RESPONSE

    def __post_init__(self) -> None:
        """Refuse a form of responses that shows none."""
        if "{reply}" not in self.response:
            raise InputError(
                f"Expected graphs.instructions.response to hold {{reply}}, but got {self.response!r}: no node would "
                "see what others replied."
            )

    @property
    def longest(self) -> str:
        """The longest of the three instructions."""
        return max((self.first, self.inner, self.last), key=len)


@dataclass(frozen=True)
class Message:
    """What one node is told.

    Attributes:
        instruction: Its instruction.
        replies: What the nodes that it reads have replied, in order.
        prompt: The question as the objective puts it.
        response: How a reply is written.
        opening: What stands before the text of a user's turn, where the prompt is written by a chat template.
    """

    instruction: str
    replies: tuple[str, ...]
    prompt: str
    response: str = RESPONSE
    opening: str = ""

    @property
    def text(self) -> str:
        r"""The prompt with the rest before it; in a chat, before the text of the last user's turn.

        >>> Message("Answer.", ("4", "2 + 2\nis 5"), "Question: 2 + 2?").text
        'Answer.\nPrevious response 1: 4\nPrevious response 2: 2 + 2 is 5\nQuestion: 2 + 2?'
        """
        written = [
            self.response.replace("{number}", str(number)).replace("{reply}", " ".join(reply.split("\n")).strip())
            for number, reply in enumerate(self.replies, start=1)
        ]
        before = "".join(f"{line}\n" for line in (self.instruction, *written) if line)
        if not before or not self.opening:
            return before + self.prompt
        place = self.prompt.rfind(self.opening)
        if place < 0:
            raise InputError(
                f"Expected prompts with a user's turn as the tokenizer's chat template opens it, {self.opening!r}, to "
                f"put the instructions of model.graphs into it, but got {self.prompt[:80]!r}... Leave chat_template "
                "out, or set chat: false."
            )
        place += len(self.opening)
        return self.prompt[:place] + before + self.prompt[place:]

    def cut(
        self, tokenizer: "PreTrainedTokenizerBase", room: int, lengths: Callable[[Sequence[str]], list[int]]
    ) -> "Message":
        """Return the message, which is too long, with its replies cut so that it fits, all to the same length.

        Of a reply its end is kept, where an answer stands as a rule.

        Args:
            tokenizer: The base model's.
            room: Tokens that the text may have.
            lengths: Says how many tokens texts have.

        Returns:
            The message; without any reply's text where not even one token of each fits.
        """
        tokens = [tokenizer.encode(reply, add_special_tokens=False) for reply in self.replies]

        def kept(count: int) -> Message:
            replies = [
                reply if len(ids) <= count else f"{CUT}{tokenizer.decode(ids[len(ids) - count :])}" if count else ""
                for reply, ids in zip(self.replies, tokens, strict=True)
            ]
            return replace(self, replies=tuple(replies))

        low, high = 0, max(map(len, tokens))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if lengths([kept(middle).text])[0] <= room else (low, middle)
        return kept(low)


@lru_cache(maxsize=16)
def opening_of_user(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return what the tokenizer's chat template writes before the text of any user's turn.

    Args:
        tokenizer: With a chat template.

    Raises:
        InputError: If the template has no such text, or takes no conversation.
    """
    advice = "Set chat: false to ask along a graph."
    turns = [{"role": role, "content": text} for role, text in zip(("user", "assistant", "user"), PROBES, strict=True)]
    text = ChatTemplate(tokenizer, advice=advice).write(turns, generation_prompt=True)
    before, after = text[: text.index(PROBES[0])], text[text.index(PROBES[1]) + len(PROBES[1]) : text.index(PROBES[2])]
    length = 0
    while length < min(len(before), len(after)) and before[-length - 1] == after[-length - 1]:
        length += 1
    if not before[len(before) - length :].strip():
        raise InputError(
            "Expected a chat template that opens every user's turn alike, so that instructions and replies can be put "
            f"into it, but it writes {before!r} before the first and {after!r} before the second. {advice}"
        )
    return before[len(before) - length :]
