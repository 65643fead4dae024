"""Writes conversations as token ids with labels: what a model reads, and which of it it is trained to write.

A prompt is tokenized apart from the response that follows it, exactly as it is when a reply is asked for; so no token
stands half in the one and half in the other. Labels of everything but the responses are -100, which losses ignore.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from swarm_lightning.data.chat_templates import ChatTemplate
from swarm_lightning.data.notices import Notice, name_some
from swarm_lightning.errors import InputError
from swarm_lightning.tuning.conversations import Conversation
from swarm_lightning.tuning.settings import TextSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
# A piece of text, and whether it is trained on.
Piece = tuple[str, bool]


@dataclass(frozen=True)
class TokenExample:
    """One conversation for a model.

    Attributes:
        input_ids: T token ids.
        labels: T token ids, or -100 where nothing is trained.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def trained(self) -> int:
        """Number of tokens that a causal model is trained to write: nothing comes before the first."""
        return sum(label != IGNORED for label in self.labels[1:])


def tokenize(
    conversations: Sequence[Conversation],
    tokenizer: "PreTrainedTokenizerBase",
    settings: TextSettings,
    limit: int | None,
    where: str,
) -> tuple[list[TokenExample], list[Notice]]:
    """Write conversations as token ids.

    Args:
        conversations: What was said.
        tokenizer: The base model's.
        settings: The form, and the length at most.
        limit: Tokens that the model can hold; None where it has no limit.
        where: What the conversations are called in messages.

    Returns:
        The examples that have something to train on, and what was cut and left out.

    Raises:
        InputError: If the form can't serve a conversation, or of all of them no response is left.
    """
    length = settings.max_length or limit
    if limit is not None and length is not None and length > limit:
        raise InputError(f"Expected text.max_length to be at most {limit}, what the base can hold, but got {length}.")
    examples: list[TokenExample] = []
    cut: list[str] = []
    lost: list[str] = []
    for conversation in conversations:
        try:
            whole = encode(conversation, tokenizer, settings)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        example = TokenExample(whole.input_ids[:length], whole.labels[:length])
        if example.trained:
            examples.append(example)
        if len(whole.input_ids) > len(example.input_ids):
            (cut if example.trained else lost).append(conversation.identifier)
        elif not example.trained:
            lost.append(conversation.identifier)
    if not examples:
        raise InputError(
            f"Expected responses within the first {length} tokens in {where}, but none of {len(conversations)} "
            "examples has any there: their prompts alone are longer. Raise text.max_length, or shorten the prompts."
        )
    notices = []
    if cut:
        message = f"{len(cut)} of {len(conversations)} examples of {where} are longer than {length} tokens and were cut"
        notices.append(Notice("cut", "warning", f"{message} ({name_some(cut)}).", len(cut), tuple(cut)))
    if lost:
        message = (
            f"{len(lost)} of {len(conversations)} examples of {where} have no response within {length} tokens and were "
            f"left out ({name_some(lost)})."
        )
        notices.append(Notice("no response left", "warning", message, len(lost), tuple(lost)))
    return examples, notices


def encode(conversation: Conversation, tokenizer: "PreTrainedTokenizerBase", settings: TextSettings) -> TokenExample:
    """Write one conversation as token ids, at its full length.

    Args:
        conversation: What was said.
        tokenizer: The base model's.
        settings: The form.

    Raises:
        InputError: If the form can't serve the conversation.
    """
    chat = settings.template is None
    pieces = _chat_pieces(conversation, tokenizer, settings) if chat else _plain_pieces(conversation, settings)
    ids: list[int] = []
    labels: list[int] = []
    for place, (text, trained) in enumerate(pieces):
        # A chat template has put the special tokens in already.
        special = not chat and place == 0
        found = cast("list[int]", tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
        if special:
            found = _without_end(found, tokenizer)
        ids += found
        labels += _labels(found, tokenizer.eos_token_id) if trained else [IGNORED] * len(found)
    if not chat and tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
        labels.append(tokenizer.eos_token_id)
    return TokenExample(tuple(ids), tuple(labels))


def _labels(ids: Sequence[int], end: int | None) -> list[int]:
    """Train a response up to its end of text; what a chat template writes behind that is nobody's reply."""
    last = max((place for place, token in enumerate(ids) if token == end), default=len(ids) - 1)
    return [token if place <= last else IGNORED for place, token in enumerate(ids)]


def _without_end(ids: list[int], tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Take off the end-of-text token that some tokenizers put behind every text: the response follows here."""
    return ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else ids


def _plain_pieces(conversation: Conversation, settings: TextSettings) -> list[Piece]:
    assert settings.template is not None
    roles = [turn.role for turn in conversation.turns]
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise InputError(
            f"Expected one prompt and one response with text.template, but example {conversation.identifier!r} has the "
            f"turns {', '.join(roles)}. Leave text.template out for a chat template, or leave the example out."
        )
    *before, prompt, response = conversation.turns
    system = before[0].content if before else ""
    if system and "{system}" not in settings.template:
        raise InputError(
            f"Expected {{system}} in text.template, because example {conversation.identifier!r} has a system prompt, "
            f"but got {settings.template!r}."
        )
    head, _, tail = settings.template.partition("{response}")
    read = head.rstrip()
    space = head[len(read) :]
    values = {"{system}": system, "{prompt}": prompt.content}
    return [(_filled(read, values), False), (space + response.content + tail, True)]


def _filled(text: str, values: dict[str, str]) -> str:
    """Put values into their places; what is filled in is never read as a template."""
    for place, value in values.items():
        head, found, tail = text.partition(place)
        if found:
            return _filled(head, values) + value + _filled(tail, values)
    return text


def _chat_pieces(
    conversation: Conversation, tokenizer: "PreTrainedTokenizerBase", settings: TextSettings
) -> list[Piece]:
    chat = ChatTemplate(
        tokenizer,
        settings.chat_template,
        advice=f"Example {conversation.identifier!r} needs it. Say how a prompt and its response are written, as in "
        'text.template: "{prompt}\\n{response}", or give another one as text.chat_template.',
    )
    turns = [{"role": turn.role, "content": turn.content} for turn in conversation.turns]
    # What an assistant says unasked, before everybody else, has no prompt.
    answers = [place for place, turn in enumerate(turns) if turn["role"] == "assistant" and place > 0]
    trained = answers if settings.train_on == "all" else answers[-1:]
    pieces: list[Piece] = []
    written = ""
    for place in trained:
        before = chat.write(turns[:place], generation_prompt=True)
        after = chat.write(turns[: place + 1], generation_prompt=False)
        if not (before.startswith(written) and after.startswith(before)):
            raise InputError(
                "Expected a chat template that writes a conversation from its beginning to its end, but example "
                f"{conversation.identifier!r} shows that it rewrites earlier turns or what stands before a reply. Give "
                "another one as text.chat_template, use text.template, or set text.train_on to last."
            )
        pieces += [(before[len(written) :], False), (after[len(before) :], True)]
        written = after
    return pieces
