"""Writes turns as the text that a tokenizer's chat template makes of them: the same text in every run, on any day.

A chat template is a program of somebody else's. It may fail in any way, leave a turn out, or want the contents in
another form; what can't be mended ends in an `InputError` that says who is to blame and what to do. The clock that a
template may ask for stands still, so that a search asks the same prompts after a resume, in `validate` and in `test`.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date as Day
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from swarm_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The day that Llama 3's own template falls back to where it is given no clock.
DATE = "2024-07-26"
CLOCK = "strftime_now"
# What `strftime` knows and templates use; `%-d` is 5 where `%d` is 05.
_DIRECTIVES = ("-d", "-m", "-y", "-H", "-I", "-M", "-S", "-j", *"aAbBcdDefFGhHIjklmMnpPrRStTuUVwWxXyYzZ")
_PROBE = "probe{}turn"
Turn = dict[str, str]


@dataclass(frozen=True)
class ChatTemplate:
    """Writes turns by a chat template.

    Attributes:
        tokenizer: Whose chat template it is, where `template` is not one in Jinja.
        template: A chat template in Jinja, or the name of one of the tokenizer's; None for the tokenizer's default.
        date: The day that a template reads from the clock, as 2024-07-26; None for that one.
        owner: Whose tokenizer it is, for messages.
        advice: What to do about a template that can't be used, for messages.
    """

    tokenizer: "PreTrainedTokenizerBase"
    template: str | None = None
    date: str | None = None
    owner: str = "the base model's"
    advice: str = "Use another base model."

    @property
    def tells_time(self) -> bool:
        """Whether the template asks for the clock."""
        return CLOCK in self._source()

    def write(self, turns: Sequence[Turn], generation_prompt: bool, continued: bool = False, whole: bool = True) -> str:
        """Return the text of some turns.

        A template that takes contents only as a list of parts gets them so. One that knows no generation prompt gets
        behind the last turn what it writes before a reply itself.

        Args:
            turns: Each with `role` and `content`.
            generation_prompt: Whether the text is to end where the assistant's reply begins.
            continued: Whether the last turn is the beginning of one, and nothing may stand behind it.
            whole: Whether all that system and user say, and the last turn, must stand in the text.

        Raises:
            InputError: If the template fails, or leaves out what must stand there.
        """
        source = self._source()
        frozen = f"{_stopped_clock(self.date or DATE)}\n{source}" if CLOCK in source else source
        roles = tuple(turn["role"] for turn in turns)
        parts = _wants_parts(self.tokenizer, frozen, roles)
        try:
            text = _apply(self.tokenizer, frozen, turns, generation_prompt, parts, continued)
        except Exception as error:  # a template is a program, which can raise anything
            raise InputError(
                f"Expected a chat template that takes the turns {', '.join(roles)}, but {self.owner} "
                f"{_reason(error)}. {self.advice}"
            ) from error
        if whole:
            self._check_whole(turns, text)
            # A short content may stand in a text by chance, the probes do not.
            shown = _probed(self.tokenizer, frozen, roles, generation_prompt, parts)
            if shown is not None:
                self._check_whole(_probes(roles), shown)
        return text + _missing_generation_prompt(self.tokenizer, frozen, roles, parts) if generation_prompt else text

    def check_certain(self, turns: Sequence[Turn]) -> None:
        """Refuse a template that draws at random: it would write other prompts in every run.

        Raises:
            InputError: If writing the turns has moved the random numbers on.
        """
        before = random.getstate()
        self.write(turns, generation_prompt=True)
        if random.getstate() != before:
            raise InputError(
                f"Expected a chat template that always writes the same, but {self.owner} draws at random. {self.advice}"
            )

    def _source(self) -> str:
        """Return the template itself."""
        known = getattr(self.tokenizer, "chat_template", None)
        if isinstance(known, dict):
            name = "default" if self.template is None else self.template
            if name in known:
                return str(known[name])
            if self.template is None:
                raise InputError(
                    f"Expected a tokenizer with one chat template, or one named default, but {self.owner} has "
                    f"{', '.join(sorted(known)) or 'none'}. Say which one by chat_template. {self.advice}"
                )
        source = known if self.template is None else self.template
        if not source:
            raise InputError(f"Expected a tokenizer with a chat template, but {self.owner} has none. {self.advice}")
        return str(source)

    def _check_whole(self, turns: Sequence[Turn], text: str) -> None:
        for place, turn in enumerate(turns):
            if (turn["role"] != "assistant" or place == len(turns) - 1) and not _stands_in(turn["content"], text):
                raise InputError(
                    f"Expected a chat template that shows the {turn['role']} turn to the model, but {self.owner} drops "
                    f"it or a part of it: of {turn['content'][:80]!r} it makes {text[:200]!r}. {self.advice}"
                )


def check_date(value: str | None) -> None:
    """Refuse what is no day.

    Raises:
        InputError: If it is neither None nor a date as 2024-07-26.
    """
    try:
        if value is not None:
            Day.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"Expected date to be a day such as {DATE}, but got {value!r}.") from error


def _stopped_clock(day: str) -> str:
    """Return Jinja that puts a clock which stands still in the place of the real one.

    A function can't be handed in: transformers lets no callable through to a template.
    """
    noon = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    values = {f"%{directive}": noon.strftime(f"%{directive}") for directive in _DIRECTIVES}
    # "%%" first, and back in the end, so that "%%d" stays "%d".
    pairs = [["%%", "\0"], *([name, value] for name, value in values.items() if value != name), ["\0", "%"]]
    return (
        f"{{%- macro {CLOCK}(format='%c') -%}}{{%- set shown = namespace(text=format) -%}}"
        f"{{%- for name, value in {json.dumps(pairs)} -%}}"
        "{%- set shown.text = shown.text.replace(name, value) -%}{%- endfor -%}"
        "{{- shown.text -}}{%- endmacro %}"
    )


def _apply(
    tokenizer: "PreTrainedTokenizerBase",
    source: str,
    turns: Sequence[Turn],
    generation_prompt: bool,
    parts: bool,
    continued: bool = False,
) -> str:
    messages: list[dict[str, Any]] = [dict(turn) for turn in turns]
    if parts:
        messages = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
    # Only what differs from the defaults: not every tokenizer takes every argument.
    options: dict[str, Any] = {"continue_final_message": True} if continued else {}
    if source != getattr(tokenizer, "chat_template", None):
        options["chat_template"] = source
    return str(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation_prompt, **options)
    )


def _probes(roles: Sequence[str]) -> list[Turn]:
    """Return turns with contents that stand in no template."""
    return [{"role": role, "content": _PROBE.format(place)} for place, role in enumerate(roles)]


@lru_cache(maxsize=256)
def _probed(
    tokenizer: "PreTrainedTokenizerBase", source: str, roles: tuple[str, ...], generation_prompt: bool, parts: bool
) -> str | None:
    """Return the text of the probes, or None where the template does not take them."""
    try:
        return _apply(tokenizer, source, _probes(roles), generation_prompt, parts)
    except Exception:  # whoever needs the text of real turns renders them too, and says what is wrong
        return None


def _wants_parts(tokenizer: "PreTrainedTokenizerBase", source: str, roles: tuple[str, ...]) -> bool:
    """Whether the template shows contents only where they come as lists of parts."""
    contents = [turn["content"] for turn in _probes(roles)]
    plain, parted = (_probed(tokenizer, source, roles, False, parts) for parts in (False, True))
    if plain is not None and all(content in plain for content in contents):
        return False
    # A template for plain texts would write out the list itself.
    return (
        parted is not None
        and all(content in parted for content in contents)
        and re.search(rf"text['\"]: *['\"]{contents[0]}", parted) is None
    )


def _missing_generation_prompt(
    tokenizer: "PreTrainedTokenizerBase", source: str, roles: tuple[str, ...], parts: bool
) -> str:
    """Return what the template writes between the last turn and a reply, where it knows no generation prompt.

    Empty where it knows one, where nothing but white space stands there, and where replies have no place in it.
    """
    asked = _probed(tokenizer, source, roles, True, parts)
    if asked is None or asked != _probed(tokenizer, source, roles, False, parts):
        return ""
    answered = _probed(tokenizer, source, (*roles, "assistant"), False, parts) or ""
    reply = _PROBE.format(len(roles))
    if not answered.startswith(asked) or reply not in answered:
        return ""
    between = answered[len(asked) : answered.index(reply)]
    # A space before the reply belongs to its first token.
    return between.rstrip(" ") if between.strip() else ""


def _stands_in(content: str, text: str) -> bool:
    """Whether a text holds all of a content; white space may have changed, and it may be written as in JSON."""
    squeezed = "".join(text.split())
    forms = (content, json.dumps(content)[1:-1], json.dumps(content, ensure_ascii=False)[1:-1])
    return any("".join(form.split()) in squeezed for form in forms)


def _reason(error: Exception) -> str:
    """Say what a template did: what it refuses it says itself, of other errors the kind tells more than the text."""
    kind = type(error).__name__
    return f"refuses: {error}" if kind == "TemplateError" else f"fails: {kind}: {error}"
