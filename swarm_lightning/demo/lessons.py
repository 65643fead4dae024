"""The lessons of the demo world's experts as instruction data: `demo:lessons/<name>`, made anew from the seed.

They ship as a recipe and not as files: there are thousands of questions to each expert. They stand in the order in
which the expert that ships has read them.
"""

import difflib
from functools import cache

from swarm_lightning.data.tables import Source, Table
from swarm_lightning.demo import SEED
from swarm_lightning.demo.curricula import LESSONS, in_order, study, training_questions
from swarm_lightning.demo.questions import Question
from swarm_lightning.errors import InputError

PREFIX = "demo:lessons/"


def open_lessons(source: str) -> Source:
    """Open what one expert of the demo world has studied, as records of `prompt` and `response`.

    Args:
        source: `demo:lessons/` and the name of an expert.

    Raises:
        InputError: If there is no expert of that name.
    """
    name = source.removeprefix(PREFIX)
    if name not in LESSONS:
        close = difflib.get_close_matches(name, LESSONS, n=1)
        hint = f" Did you mean {PREFIX + close[0]!r}?" if close else ""
        raise InputError(f"Expected lessons of one of {', '.join(LESSONS)}, but got {source!r}.{hint}")

    def read() -> Table:
        lessons = LESSONS[name]
        documents = in_order(study(lessons, _questions(), SEED), lessons, SEED)
        return Table(source, [{"prompt": document.prompt, "response": document.reply} for document in documents])

    return Source(name, source, {"": read})


@cache
def _questions() -> dict[str, list[Question]]:
    return training_questions(SEED)
