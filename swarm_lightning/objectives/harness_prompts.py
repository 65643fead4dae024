"""What a task of the lm-evaluation-harness asks of a model about one document: its requests, with the task's own code.

In-context examples are drawn as `lm_eval.simple_evaluate` draws them, document by document in the task's order, so that
a document gets the same ones whichever others are asked. Documents that are asked are never among them.
"""

import copy
import functools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from swarm_lightning.data.chat_templates import ChatTemplate
from swarm_lightning.data.examples import Example
from swarm_lightning.data.harness_documents import DOCUMENT, INDEX, SPEC, SPLIT, TASK
from swarm_lightning.data.harness_tasks import LoadedTask, calm, load_tasks, task_code
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.protocol import GenerationSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FEWSHOT_SEED = 1234  # that of lm_eval.simple_evaluate
MOST_NEW_TOKENS = 256  # that of the harness, where a task sets none
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
# What changes nothing in a greedy reply.
_SAMPLING = ("do_sample", "temperature", "top_p", "top_k", "min_p", "seed")


def task_of(example: Example) -> LoadedTask:
    """Return the task whose document an example is.

    Raises:
        InputError: If the example is no document of a task.
    """
    if SPEC not in example.extras:
        raise InputError(
            "Expected documents of a task of the lm-evaluation-harness, but example "
            f"{example.identifier!r} ({example.question[:60]!r}) is none. Set data.dataset: lm_eval:TASK; prompts for "
            "`predict` are not served by this objective."
        )
    return load_tasks(example.extras[SPEC])[example.extras[TASK]]


class DocumentPrompts:
    """Makes the harness's requests for documents, and remembers them."""

    def __init__(self, num_fewshot: int | None, chat: bool, system: str | None) -> None:
        """Set how documents are put.

        Args:
            num_fewshot: Number of in-context examples; None for the task's own.
            chat: Whether the tokenizer's chat template is applied, in-context examples as turns of their own.
            system: What stands before everything, or the system turn of the chat template.
        """
        self._num_fewshot = num_fewshot
        self._chat = chat
        self._system = system
        # By task: the content of a document, and its place in the stored split.
        self._asked: dict[str, set[str | tuple[str | None, int]]] = {}
        self._shots: dict[tuple[str, str], list[Any]] = {}
        self._known: dict[tuple[str, str, int], list[Any]] = {}

    def ask(self, examples: Sequence[Example]) -> None:
        """Say which documents are asked, besides those said before: none of them becomes an in-context example."""
        for example in examples:
            loaded = task_of(example)
            place = (loaded.stored(example.extras[SPLIT]), example.extras[INDEX])
            self._asked.setdefault(loaded.name, set()).update((_content(example.extras[DOCUMENT]), place))
        self._shots.clear()
        self._known.clear()

    def requests(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> list[Any]:
        """Return the harness's requests for a document, in their order.

        Args:
            example: A document.
            tokenizer: With the chat template, where one is applied.

        Raises:
            InputError: If the task can't make them.
        """
        loaded = task_of(example)
        key = (loaded.name, example.extras[SPLIT], example.extras[INDEX])
        if key not in self._known:
            with calm(), task_code(f"the prompt of document {example.identifier!r}"):
                self._known[key] = self._build(loaded, example, tokenizer)
        return self._known[key]

    def _build(self, loaded: LoadedTask, example: Example, tokenizer: "PreTrainedTokenizerBase") -> list[Any]:
        task, document = loaded.task, copy.deepcopy(example.extras[DOCUMENT])
        count = (task.config.num_fewshot or 0) if self._num_fewshot is None else self._num_fewshot
        render = functools.partial(_render_chat, tokenizer) if self._chat else None
        drawn = self._draw(loaded, example.extras[SPLIT], count)[example.extras[INDEX]] if count else []
        sampler = getattr(task, "sampler", None)
        task.sampler = _Drawn(drawn)
        try:
            context = task.fewshot_context(
                document,
                num_fewshot=count,
                system_instruction=self._system,
                apply_chat_template=self._chat,
                fewshot_as_multiturn=True,
                chat_template=render,
                gen_prefix=task.doc_to_prefix(document),
            )
        finally:
            task.sampler = sampler
        requests = task.construct_requests(
            doc=document,
            ctx=context,
            metadata=(loaded.name, example.extras[INDEX], task.config.repeats),
            apply_chat_template=self._chat,
            chat_template=render,
        )
        return sorted(requests, key=lambda request: request.idx) if isinstance(requests, list) else [requests]

    def _draw(self, loaded: LoadedTask, split: str, count: int) -> list[Any]:
        """Draw the in-context examples of all documents of a split, in the order of the harness."""
        key = (loaded.name, split)
        if key not in self._shots:
            sampler: Any = getattr(loaded.task, "sampler", None)
            everything = [] if sampler is None else list(sampler.df)
            asked = self._asked.get(loaded.name, set())
            # A task that shuffles the choices whenever it reads a document has it here in another form.
            stored = loaded.shown
            pool = [
                document
                for place, document in enumerate(everything)
                if _content(document) not in asked and (stored is None or (stored, place) not in asked)
            ]
            if len(pool) < count:
                raise InputError(
                    f"Expected {count} documents or more for in-context examples of {loaded.name!r}, but of its "
                    f"{len(everything)} documents {len(pool)} can be drawn: the others are in validation or test. "
                    "Lower num_fewshot, data.validation_size or data.test_size."
                )
            drawing = copy.copy(sampler).replace_df(pool).set_rnd(FEWSHOT_SEED)
            config = loaded.task.config
            # The harness draws one more where it takes the document itself out of what was drawn.
            itself = loaded.task.fewshot_cfg.split == config.test_split and len(pool) > count
            self._shots[key] = [
                drawing.sample(n=count, eval_doc=document if itself else None) for document in loaded.documents(split)
            ]
        return self._shots[key]


class _Drawn:
    """Stands in for a task's sampler: gives what has been drawn."""

    def __init__(self, documents: Sequence[Any]) -> None:
        self._documents = documents

    def sample(self, n: int, eval_doc: Any = None, **_: Any) -> Sequence[Any]:
        return self._documents


def generation_settings(
    arguments: Mapping[str, Any], name: str, max_new_tokens: int | None, greedy: bool
) -> GenerationSettings:
    r"""Read how a task wants replies to be generated.

    Args:
        arguments: The task's `generation_kwargs`.
        name: The task's name, for messages.
        max_new_tokens: The most tokens of a reply; None for the task's own, or 256.
        greedy: Whether replies are greedy even where the task samples.

    Raises:
        InputError: If the task samples and `greedy` is off, or it wants something else that is not done here.

    >>> generation_settings({"until": ["\n\n", ""], "max_gen_toks": 32, "do_sample": False}, "a", None, False).stop
    ('\n\n',)

    Source: lm-evaluation-harness, lm_eval/models/utils.py, `normalize_gen_kwargs`.
    """
    given = {key: value for key, value in arguments.items() if value is not None}
    until = given.pop("until", [])
    lengths = [given.pop(key) for key in _LENGTHS if key in given]
    samples = float(given.get("temperature", 0.0)) > 0 and given.get("do_sample") is not False
    if samples and not greedy:
        raise InputError(
            f"Expected a task with greedy replies, but {name!r} samples them (temperature {given['temperature']}). Set "
            "objective.init_args.greedy: true for greedy replies, whose scores are not those of the harness."
        )
    others = [key for key, value in given.items() if key not in _SAMPLING and (key, value) != ("num_beams", 1)]
    if others:
        raise InputError(
            f"Expected generation_kwargs of {name!r} among until, {', '.join((*_LENGTHS, *_SAMPLING))}, but got "
            f"{', '.join(others)}, which this engine does not support. Copy the task's YAML and leave it out."
        )
    stop = [text for text in ([until] if isinstance(until, str) else until) if text]
    return GenerationSettings(max_new_tokens or int((lengths or [MOST_NEW_TOKENS])[0]), stop)


def _render_chat(
    tokenizer: "PreTrainedTokenizerBase", turns: list[dict[str, str]], add_generation_prompt: bool = True
) -> str:
    advice = "Set chat: false, or leave system out; a task's description is a system turn too."
    chat = ChatTemplate(tokenizer, advice=advice)
    return chat.write(turns, add_generation_prompt, continued=not add_generation_prompt)


def _content(document: object) -> str:
    return json.dumps(document, sort_keys=True, default=str)
