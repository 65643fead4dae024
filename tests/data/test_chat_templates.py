import copy
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from swarm_lightning.data.chat_templates import ChatTemplate, check_date
from swarm_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

USER = [{"role": "user", "content": 'Which "town"?\nSay it.'}]
SYSTEM = [{"role": "system", "content": "Be brief."}, *USER]
TALK = [*USER, {"role": "assistant", "content": "Rome"}, {"role": "user", "content": "Why?"}]
EACH = "{% for m in messages %}[{{ m.role }}] {{ CONTENT }}\n{% endfor %}"
EACH += "{% if add_generation_prompt %}[assistant]{% endif %}"
PLAIN = EACH.replace("CONTENT", "m.content")
WANTED = '[user] Which "town"?\nSay it.\n[assistant]'


@pytest.fixture
def tokenizer(tiny_base_folder: str) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    return copy.deepcopy(AutoTokenizer.from_pretrained(tiny_base_folder))


def write(tokenizer: "PreTrainedTokenizerBase", source: object, turns: list[dict[str, str]], **settings: str) -> str:
    tokenizer.chat_template = source
    return ChatTemplate(tokenizer, **settings).write(turns, generation_prompt=True)


@pytest.mark.parametrize(
    "content",
    [
        "m.content[0].text",
        "m.content[0]['text'] | trim",
        "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{{ '' }}",
        "m.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join",
        "(m.content | first)['text'] + ''",
    ],
)
def test_a_template_that_wants_parts_gets_parts(tokenizer: "PreTrainedTokenizerBase", content: str) -> None:
    source = EACH.replace("{{ CONTENT }}" if content.startswith("{%") else "CONTENT", content)
    assert write(tokenizer, source, USER) == WANTED
    assert write(tokenizer, source, TALK).endswith("[assistant] Rome\n[user] Why?\n[assistant]")


def test_a_short_question_that_stands_in_the_frame_by_chance_is_no_sign_of_a_plain_template(
    tokenizer: "PreTrainedTokenizerBase",
) -> None:
    source = EACH.replace("CONTENT", "m.content[0].text")
    assert write(tokenizer, source, [{"role": "user", "content": "s"}]) == "[user] s\n[assistant]"
    with pytest.raises(InputError, match="drops it"):
        write(tokenizer, "[user]", [{"role": "user", "content": "s"}])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ raise_exception('No.') }}", "refuses: No"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ missing.name.other }}", "UndefinedError"),
        ("{{ messages[0].content.nowhere() }}", "UndefinedError"),
        ("{{ {}.pop('x') }}", "Error"),
        ("{{ 'a'.index('b') }}", "ValueError"),
        ("{{ dict(a=1)['a']['b'].c }}", "UndefinedError"),
        ("{{ strftime_now(1) }}", "Error"),
        ("{% for m in messages %}", "TemplateSyntaxError"),
        ("{{ messages | nofilter }}", "TemplateAssertionError"),
        ("{% if messages[0].role == 'user' %}{{ raise_exception('roles must alternate') }}{% endif %}", "alternate"),
    ],
)
def test_whatever_a_template_raises_is_named_with_what_to_do(
    tokenizer: "PreTrainedTokenizerBase", source: str, message: str
) -> None:
    with pytest.raises(InputError, match=rf"takes the turns user, but the base model's .*{message}.*Set it\."):
        write(tokenizer, source, USER, advice="Set it.")


@pytest.mark.parametrize(
    ("source", "turns", "role"),
    [
        ("", USER, "none"),
        ("{# nothing #}", USER, "user turn"),
        ("{% if false %}{{ messages }}{% endif %}  ", USER, "user turn"),
        ("Answer the question.", USER, "user turn"),
        (EACH.replace("CONTENT", "m.content[:8]"), USER, "user turn"),
        (EACH.replace("CONTENT", "m.content | truncate(12)"), USER, "user turn"),
        (EACH.replace("CONTENT", "m.content.split('\n')[0]"), USER, "user turn"),
        (EACH.replace("CONTENT", "m.content | upper"), USER, "user turn"),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", SYSTEM, "system turn"),
        ("{{ messages[-1].content }}", SYSTEM, "system turn"),
    ],
)
def test_a_template_that_leaves_out_what_is_said_is_refused(
    tokenizer: "PreTrainedTokenizerBase", source: str, turns: list[dict[str, str]], role: str
) -> None:
    with pytest.raises(InputError, match=role):
        write(tokenizer, source, turns)


@pytest.mark.parametrize("content", ["m.content | trim", "m.content | tojson", "m.content.split() | join(' ')"])
def test_white_space_and_quoting_are_the_templates_own_affair(
    tokenizer: "PreTrainedTokenizerBase", content: str
) -> None:
    assert write(tokenizer, EACH.replace("CONTENT", content), USER).endswith("[assistant]")


def test_of_several_templates_the_default_or_the_named_one_is_taken(tokenizer: "PreTrainedTokenizerBase") -> None:
    several = {"rag": "R " + PLAIN, "tool_use": "T " + PLAIN}
    with pytest.raises(InputError, match=r"has rag, tool_use.*chat_template"):
        write(tokenizer, several, USER)
    assert write(tokenizer, several, USER, template="rag") == "R " + WANTED
    assert write(tokenizer, several, USER, template=PLAIN) == WANTED
    assert write(tokenizer, {**several, "default": PLAIN}, USER) == WANTED
    with pytest.raises(InputError, match="has none"):
        write(tokenizer, None, USER)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # No word of the flag: what stands before a reply is what the template itself writes there.
        ("{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>\n{% endfor %}", "<user>Why?</s>\n<assistant>"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "user: Why?\nassistant:"),
        # The end of the user's turn is the beginning of the reply.
        (
            "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}"
            "{% endif %}{% endfor %}",
            "[INST] Why? [/INST]",
        ),
        # No place for replies at all.
        ("{% for m in messages if m.role == 'user' %}Q {{ m.content }}{% endfor %}", "Q Why?"),
    ],
)
def test_a_reply_begins_where_the_template_itself_would_write_one(
    tokenizer: "PreTrainedTokenizerBase", source: str, expected: str
) -> None:
    assert write(tokenizer, source, [{"role": "user", "content": "Why?"}]) == expected


def test_the_clock_stands_still(tokenizer: "PreTrainedTokenizerBase") -> None:
    formats = "%d %b %Y|%Y-%m-%d|%A %-d. %B, %H:%M %j|%%d %Z"
    clock = "  {% macro day() %}{{ strftime_now(f) }}{% endmacro %}"
    source = f"  {{% if strftime_now is defined %}}{{{{ strftime_now('{formats}') }}}}{{% endif %}} " + PLAIN
    first = "26 Jul 2024|2024-07-26|Friday 26. July, 12:00 208|%d UTC"
    # The first tag of a line takes the white space before it along, as without the clock.
    assert write(tokenizer, source, USER) == f"{first} {WANTED}"
    assert write(tokenizer, source, USER, date="2025-03-01").startswith("01 Mar 2025|2025-03-01|Saturday 1. March")
    assert "26 Jul 2024" in write(tokenizer, clock.replace("f)", "'%d %b %Y')") + "{{ day() }}" + PLAIN, USER)
    llama = "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    assert write(tokenizer, llama + "Today: {{ date_string }}\n" + PLAIN, USER) == f"Today: 26 Jul 2024\n{WANTED}"
    assert ChatTemplate(tokenizer).tells_time
    tokenizer.chat_template = PLAIN
    assert not ChatTemplate(tokenizer).tells_time


def test_a_template_that_draws_at_random_is_refused(tokenizer: "PreTrainedTokenizerBase") -> None:
    for drawing in ("{{ ['a', 'b'] | random }}", "{{ lipsum(1) }}"):
        tokenizer.chat_template = drawing + PLAIN
        with pytest.raises(InputError, match="at random"):
            ChatTemplate(tokenizer).check_certain(USER)
    tokenizer.chat_template = PLAIN
    ChatTemplate(tokenizer).check_certain(USER)


def test_a_plain_template_is_rendered_as_transformers_renders_it(tokenizer: "PreTrainedTokenizerBase") -> None:
    for turns in (USER, SYSTEM, TALK):
        expected = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert ChatTemplate(tokenizer).write(turns, generation_prompt=True) == expected


@pytest.mark.parametrize("date", ["today", "26 Jul 2024", "2024-13-01", 20240726])
def test_a_date_that_is_no_day_is_refused(date: object) -> None:
    with pytest.raises(InputError, match="such as 2024-07-26"):
        check_date(date)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_zone_and_the_language_of_a_machine_change_nothing(tiny_base_folder: str) -> None:
    code = (
        "import sys; from transformers import AutoTokenizer; from swarm_lightning.data.chat_templates import *\n"
        "t = AutoTokenizer.from_pretrained(sys.argv[1]); t.chat_template = '{{ strftime_now(\"%c %Z %H\") }}' + "
        "'{{ messages[0].content }}'\n"
        "print(ChatTemplate(t).write([{'role': 'user', 'content': 'Why?'}], True))"
    )
    shown = {
        subprocess.run(
            [sys.executable, "-c", code, tiny_base_folder],
            env={**os.environ, **changes},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for changes in ({"TZ": "Asia/Tokyo"}, {"TZ": "America/Lima", "LC_ALL": "C"})
    }
    assert shown == {"Fri Jul 26 12:00:00 2024 UTC 12Why?\n"}
