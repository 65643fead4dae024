"""A prompt and a reply as the token ids that a reward model reads, within its limit.

What is too long is cut at the beginning of the prompt, which is farthest from what is rated; only where the reply alone
is too long, at the reply's end. So no reply that a particle gives can stop a search, and what frames the turns stays.
"""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from swarm_lightning.data.chat_templates import ChatTemplate
from swarm_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PLACE = re.compile(r"\{(prompt|reply)\}")


class Conversations:
    """Writes a prompt and its reply in a model's own form."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", template: str | None, limit: int) -> None:
        """Take the form, and see that it works.

        Args:
            tokenizer: The reward model's.
            template: Text with {prompt} and {reply}; the tokenizer's chat template if None.
            limit: The most tokens.

        Raises:
            InputError: If there is no form, it drops a turn, or it leaves no room.
        """
        self._tokenizer = tokenizer
        self._template = template
        self._limit = limit
        self._chat = ChatTemplate(
            tokenizer, owner="the reward model's", advice="Set reward_template, with {prompt} and {reply}."
        )
        if template is None and not getattr(tokenizer, "chat_template", None):
            raise InputError(
                "Expected a reward model whose tokenizer has a chat template, but this one has none. Say how it was "
                'trained to read a prompt and a reply, such as reward_template: "{prompt}\\n\\n{reply}".'
            )
        text = self._render("What is it?", "A stone.")
        if "What is it?" not in text or "A stone." not in text:
            raise InputError(
                "Expected a form that shows the prompt and the reply to the reward model, but "
                f"{'its chat template' if template is None else repr(template)} gives {text[:200]!r}. Set "
                "reward_template, with {prompt} and {reply}."
            )
        frame = len(self._encode("", ""))
        if frame >= limit:
            raise InputError(
                f"Expected a limit of more tokens than the {frame} that frame a prompt and a reply, but it is {limit}. "
                "Raise max_tokens, or use a reward model that reads more."
            )

    def encode(self, prompt: str, reply: str) -> list[int]:
        """Return the token ids of a prompt with its reply, within the limit.

        Args:
            prompt: What the user says.
            reply: What is rated.
        """
        ids = self._encode(prompt, reply)
        if len(ids) <= self._limit:
            return ids
        tokens = self._tokens(prompt)
        shorter = self._shorten(
            tokens, len(ids), lambda kept: self._encode(self._text(tokens[len(tokens) - kept :]), reply)
        )
        if shorter is not None:
            return shorter
        said = self._tokens(reply)
        shorter = self._shorten(
            said, len(self._encode("", reply)), lambda kept: self._encode("", self._text(said[:kept]))
        )
        return self._encode("", "") if shorter is None else shorter

    def _shorten(self, tokens: Sequence[int], length: int, encode: Callable[[int], list[int]]) -> list[int] | None:
        """Return the ids with as many of the tokens kept as fit, or None if none can stay."""
        kept = len(tokens)
        while (kept := kept - max(length - self._limit, 1)) > 0:  # cut text may take other tokens than it had
            ids = encode(kept)
            if len(ids) <= self._limit:
                return ids
            length = len(ids)
        return None

    def _render(self, prompt: str, reply: str) -> str:
        if self._template is not None:
            return _PLACE.sub(lambda match: prompt if match[1] == "prompt" else reply, self._template)
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]
        return self._chat.write(turns, generation_prompt=False, whole=False)

    def _encode(self, prompt: str, reply: str) -> list[int]:
        # A chat template has put the special tokens in already.
        special = self._template is not None
        return self._tokens(self._render(prompt, reply), special)

    def _tokens(self, text: str, special: bool = False) -> list[int]:
        return cast("list[int]", self._tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))
