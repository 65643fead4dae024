"""Any task of the lm-evaluation-harness as the utility: its prompts, its filters and its metric, on our engine.

The dataset names the task, as in `data.dataset: lm_eval:arc_easy`, and its documents are the examples. Nothing of the
harness runs a model: the requests that a task makes for a document are put to all particles at once.

Source: lm-evaluation-harness, lm_eval/evaluator.py and lm_eval/models/huggingface.py.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from swarm_lightning.data.examples import Example
from swarm_lightning.data.harness_tasks import calm
from swarm_lightning.errors import InputError
from swarm_lightning.objectives.checks import check_at_least_one
from swarm_lightning.objectives.harness_prompts import DocumentPrompts, generation_settings, task_of
from swarm_lightning.objectives.harness_scores import Scoring, apply_filter, choose_scoring
from swarm_lightning.objectives.protocol import GenerationSettings, LanguageModel, Objective, Outcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Of a broken particle, where the metric has no lowest value: as in `mean_log_likelihood.py`.
LOWEST = -1e6
# What the likelihoods of the choices are divided by, for the metrics by which a choice counts as picked.
_LENGTHS = {"acc": lambda _: 1, "acc_norm": len, "acc_bytes": lambda text: len(text.encode())}


class HarnessTask(Objective):
    """Score a document by a metric of its task: the value that the harness itself gives for this document.

    The utility of a particle is the mean of these, which is what `lm_eval` reports for the same documents; of a group
    of tasks every document counts alike, as where the harness weights tasks by size. Metrics that are no mean over
    documents (perplexities, bleu, f1 over all documents) are refused. A metric of which lower is better is negated. The
    harness's `acc`, `acc_norm`, `acc_bytes`, `acc_mutual_info` and `exact_match` lie between 0 and 1; any other metric
    counts as unbounded, so that every particle is asked everything, unless `lowest` and `highest` say otherwise.
    Likelihoods that are no number, as those of a particle with broken weights, score lowest.

    Three things differ from the harness: a prompt that is too long for the model is refused and not cut; where a
    tokenizer merges the end of a prompt with the beginning of a continuation, the merged token counts to the
    continuation and not to the prompt; and no document that is asked serves as an in-context example.
    """

    def __init__(
        self,
        metric: str | None = None,
        filter: str | None = None,
        num_fewshot: int | None = None,
        chat: bool = False,
        system: str | None = None,
        max_new_tokens: int | None = None,
        greedy: bool = False,
        higher_is_better: bool | None = None,
        lowest: float | None = None,
        highest: float | None = None,
        unsafe_code: bool = False,
    ) -> None:
        """Choose the metric, and override settings of the task.

        Args:
            metric: Name of the metric; null: the first metric of the task that is a mean over documents.
            filter: Name of the filter pipeline whose results the metric sees, such as `strict-match` of gsm8k; null:
                the task's first.
            num_fewshot: Number of in-context examples, >= 0; null: as the task specifies.
            chat: Whether to apply the tokenizer's chat template, with in-context examples as separate turns.
            system: Text placed before everything else; with chat, the system turn.
            max_new_tokens: Maximum number of tokens of a reply; null: as the task specifies, or 256.
            greedy: Whether to generate greedily even if the task samples; otherwise such a task is rejected.
            higher_is_better: Whether a higher metric is better; null: as the task specifies.
            lowest: Lowest possible value of the metric; null: the known bound, if any.
            highest: Highest possible value of the metric; null: the known bound, if any.
            unsafe_code: Whether a task may execute code that the model writes.

        Raises:
            InputError: If a value can't be used.
        """
        if num_fewshot is not None and (isinstance(num_fewshot, bool) or num_fewshot < 0):
            raise InputError(f"Expected num_fewshot to be a whole number of 0 or more, but got {num_fewshot!r}.")
        if max_new_tokens is not None:
            check_at_least_one("max_new_tokens", max_new_tokens)
        if lowest is not None and highest is not None and not lowest < highest:
            raise InputError(f"Expected lowest to be below highest, but got {lowest} and {highest}.")
        self.metric = metric
        self.filter = filter
        self.num_fewshot = num_fewshot
        self.chat = chat
        self.system = system
        self.max_new_tokens = max_new_tokens
        self.greedy = greedy
        self.higher_is_better = higher_is_better
        self.lowest = lowest
        self.highest = highest
        self.unsafe_code = unsafe_code
        self._prompts = DocumentPrompts(num_fewshot, chat, system)
        self._scoring: dict[str, Scoring] = {}

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest score; infinite before `check` has seen the task, and where nothing is known."""
        spans = [
            one.bounds if one.sign > 0 else (-one.bounds[1], -one.bounds[0]) for one in self._scoring.values()
        ] or [(-math.inf, math.inf)]
        return min(lowest for lowest, _ in spans), max(highest for _, highest in spans)

    def check(self, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> None:
        """Refuse a metric that can't be a utility, and documents whose requests can't be made or answered.

        Args:
            examples: Documents that will be asked; none of them becomes an in-context example from here on.
            tokenizer: The base model's.

        Raises:
            InputError: If anything of the task can't be used.
        """
        self._prompts.ask(examples)
        generations = set()
        for example in examples:
            requests = self._prompts.requests(example, tokenizer)
            self._scoring_of(example, requests)
            generations.add(self._generation(example, requests))
        if len(generations) > 1:
            raise InputError(
                "Expected documents whose replies are all generated alike, but the tasks differ: "
                f"{'; '.join(sorted(map(str, generations)))}. Name one task of the group."
            )

    def prompt(self, example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
        """Return the text that the model sees first for a document; some tasks have a text for each choice."""
        return str(self._prompts.requests(example, tokenizer)[0].args[0]) or _beginning(tokenizer)

    def evaluate(self, examples: Sequence[Example], model: LanguageModel) -> list[Outcome]:
        """Put the documents' requests to a model and score its replies.

        Args:
            examples: Documents; they may repeat.
            model: What answers.

        Returns:
            One outcome per document. Its reply is the generated text, or the continuation that was measured or picked
            out of several; a vote counts filtered replies, and picked continuations with the metrics acc, acc_norm and
            acc_bytes.

        Raises:
            InputError: If an example is no document of a task, or its task can't score it.
        """
        requests = [self._prompts.requests(example, model.tokenizer) for example in examples]
        results: list[list[Any]] = [[None] * len(row) for row in requests]
        if examples:
            self._generate(examples, requests, results, model)
            self._measure(requests, results, model)
        known: dict[tuple[int, tuple[Any, ...]], Outcome] = {}  # many particles reply alike
        outcomes = []
        with calm():
            for example, row, found in zip(examples, requests, results, strict=True):
                key = (id(example), tuple(found))
                if key not in known:
                    known[key] = self._outcome(self._scoring_of(example, row), row, found)
                outcomes.append(known[key])
        return outcomes

    def _generate(
        self,
        examples: Sequence[Example],
        requests: Sequence[Sequence[Any]],
        results: Sequence[list[Any]],
        model: LanguageModel,
    ) -> None:
        settings = self._generation(examples[0], requests[0])
        if settings is None:
            return
        places = [_generated(row)[0] for row in requests]
        prompts = [str(row[place].args[0]) for row, place in zip(requests, places, strict=True)]
        replies = model.generate(prompts, settings, self._add_special_tokens(prompts, model.tokenizer))
        for found, place, reply in zip(results, places, replies, strict=True):
            found[place] = reply

    def _measure(self, requests: Sequence[Sequence[Any]], results: Sequence[list[Any]], model: LanguageModel) -> None:
        """Measure likelihoods: the continuations of one prompt of every document at a time, as far as there are any."""
        contexts: list[list[tuple[str, list[int]]]] = []
        for row in requests:
            by_context: dict[str, list[int]] = {}
            for place, request in enumerate(row):
                if request.request_type == "loglikelihood":
                    by_context.setdefault(str(request.args[0]), []).append(place)
            contexts.append(list(by_context.items()))
        for turn in range(max(map(len, contexts))):
            asked = [row[turn] if turn < len(row) else ("", []) for row in contexts]
            prompts = [context or _beginning(model.tokenizer) for context, _ in asked]
            continuations = [
                [str(row[place].args[1]) for place in places] for row, (_, places) in zip(requests, asked, strict=True)
            ]
            special = self._add_special_tokens(prompts, model.tokenizer)
            likelihoods = model.loglikelihood(prompts, continuations, add_special_tokens=special)
            for found, (_, places), row in zip(results, asked, likelihoods, strict=True):
                for place, one in zip(places, row, strict=True):
                    found[place] = (one.logarithm, one.greedy)

    def _outcome(self, scoring: Scoring, requests: Sequence[Any], results: Sequence[Any]) -> Outcome:
        reply, answer = _reply_of(scoring, requests, results)
        lowest = min(scoring.sign * bound for bound in scoring.bounds)
        worst = lowest if math.isfinite(lowest) else LOWEST
        if any(isinstance(result, tuple) and math.isnan(result[0]) for result in results):
            return Outcome(reply, None, worst)
        score = scoring.sign * scoring.value(requests, results)
        return Outcome(reply, answer, score if math.isfinite(score) else worst)

    def _scoring_of(self, example: Example, requests: Sequence[Any]) -> Scoring:
        loaded = task_of(example)
        if loaded.name not in self._scoring:
            if getattr(loaded.task, "UNSAFE_CODE", False) and not self.unsafe_code:
                raise InputError(
                    f"Expected a task that runs no code of the model's, but {loaded.name!r} does. Where that can do no "
                    "harm, set unsafe_code: true."
                )
            self._scoring[loaded.name] = choose_scoring(
                loaded, requests, self.metric, self.filter, self.higher_is_better, (self.lowest, self.highest)
            )
        return self._scoring[loaded.name]

    def _generation(self, example: Example, requests: Sequence[Any]) -> GenerationSettings | None:
        """Return how the reply to a document is generated; None where none is."""
        name = task_of(example).name
        places = _generated(requests)
        if len(places) > 1 or any(request.request_type == "loglikelihood_rolling" for request in requests):
            wants = "several replies" if len(places) > 1 else "the likelihood of texts of any length (rolling)"
            raise InputError(
                f"Expected a task with one reply or the likelihoods of continuations per document, but {name!r} wants "
                f"{wants}. Name another task; for texts of your own there is the objective MeanLogLikelihood."
            )
        if any(request.repeats > 1 for request in requests) and not self.greedy:
            raise InputError(
                f"Expected a task that asks once, but {name!r} repeats its requests {requests[0].repeats} times. Set "
                "greedy: true for one greedy reply in place of all, whose score is not that of the harness."
            )
        if not places:
            return None
        return generation_settings(requests[places[0]].args[1], name, self.max_new_tokens, self.greedy)

    def _add_special_tokens(self, prompts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> bool:
        """Whether the tokenizer adds its special tokens: not where the chat template has put them in already."""
        begin = tokenizer.bos_token
        return not (self.chat and begin and any(prompt.startswith(str(begin)) for prompt in prompts))


def _generated(requests: Sequence[Any]) -> list[int]:
    return [place for place, request in enumerate(requests) if request.request_type == "generate_until"]


def _beginning(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return what stands before a text without a prompt: the tokenizer's beginning, or its end where it has none."""
    return "" if tokenizer.bos_token is not None else str(tokenizer.eos_token or "")


def _reply_of(scoring: Scoring, requests: Sequence[Any], results: Sequence[Any]) -> tuple[str, str | None]:
    """Return the text to show for a document, and what a vote counts."""
    task, generated = scoring.loaded.task, _generated(requests)
    if generated:
        filtered = apply_filter(scoring.loaded, scoring.filter, requests, results)[generated[0]]
        return str(results[generated[0]]), filtered if isinstance(filtered, str) else None
    logarithms = [-math.inf if math.isnan(result[0]) else result[0] for result in results]
    if task.OUTPUT_TYPE != "multiple_choice":
        return str(requests[0].args[1]), None
    choices = [str(choice) for choice in task.doc_to_choice(requests[0].doc)]
    length = _LENGTHS.get(scoring.metric, _LENGTHS["acc"])
    picked = max(range(len(choices)), key=lambda place: logarithms[place] / max(length(choices[place]), 1))
    return choices[picked], choices[picked] if scoring.metric in _LENGTHS else None
