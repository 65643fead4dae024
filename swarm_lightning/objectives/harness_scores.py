"""From replies to a score by a task's own filters and metric, document by document.

A utility is a mean of scores of single examples, so only metrics that are means over documents can serve.
"""

import copy
import difflib
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarm_lightning.data.harness_tasks import LoadedTask, calm, reseed, task_code
from swarm_lightning.doors.lm_eval import computes_metric_itself, filter_names, filtered
from swarm_lightning.errors import InputError

# The harness's own metrics that are 0 or 1 for a document, or a share.
_SHARES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")


@dataclass(frozen=True)
class Scoring:
    """How the documents of one task are scored.

    Attributes:
        loaded: The task.
        metric: Name of the metric.
        filter: Name of the task's pipeline of filters whose results the metric sees.
        sign: 1 where a higher value of the metric is better, -1 where a lower one is.
        bounds: The lowest and the highest value of the metric for a document.
    """

    loaded: LoadedTask
    metric: str
    filter: str
    sign: int
    bounds: tuple[float, float]

    def value(self, requests: Sequence[Any], results: Sequence[Any]) -> float:
        """Return the metric of one document, as the harness has it.

        Args:
            requests: The document's requests.
            results: The reply to each: a text, or a log-likelihood and whether it is what a greedy reply would be.

        Raises:
            InputError: If the task gives no such value, or one outside of the bounds.
        """
        values = measure(self.loaded, self.filter, requests, results)
        found = as_number(values.get(self.metric))
        where = f"the metric {self.metric!r} of document {requests[0].doc_id} of {self.loaded.name!r}"
        if found is None:
            raise InputError(f"Expected {where} to be a number, but got {values.get(self.metric)!r}. Name another one.")
        lowest, highest = self.bounds
        if found < lowest or found > highest:
            raise InputError(
                f"Expected {where} to lie between {lowest:g} and {highest:g}, but got {found:g}. Set lowest and "
                "highest to what the metric can be."
            )
        return found


def measure(loaded: LoadedTask, filter_: str, requests: Sequence[Any], results: Sequence[Any]) -> dict[str, Any]:
    """Filter the results of one document's requests and return all of the task's metrics for it; only inside `calm`."""
    filtered = apply_filter(loaded, filter_, requests, results)
    with task_code(f"the score of document {requests[0].doc_id} of {loaded.name!r}"):
        return dict(loaded.task.process_results(copy.deepcopy(requests[0].doc), filtered))


def apply_filter(loaded: LoadedTask, filter_: str, requests: Sequence[Any], results: Sequence[Any]) -> list[Any]:
    """Return what a pipeline of filters makes of the results of one document's requests; only inside of `calm`."""
    document = copy.deepcopy(requests[0].doc)
    reseed()
    with task_code(f"the filtered replies to document {requests[0].doc_id} of {loaded.name!r}"):
        return filtered(loaded.task, filter_, requests, document, results)


def choose_scoring(
    loaded: LoadedTask,
    requests: Sequence[Any],
    metric: str | None,
    filter_: str | None,
    higher_is_better: bool | None,
    bounds: tuple[float | None, float | None],
) -> Scoring:
    """Settle how a task's documents are scored, by trying it out with made-up replies to one of them.

    Args:
        loaded: The task.
        requests: Those of one of its documents.
        metric: Name of the metric; None for the task's first that is a mean over documents.
        filter_: Name of the pipeline of filters; None for the task's first.
        higher_is_better: Whether a higher value is better; None for what the task says.
        bounds: The lowest and highest value; None for what is known of the metric.

    Raises:
        InputError: If the task has no such metric or filter, or the metric is no mean over documents.
    """
    name, task = loaded.name, loaded.task
    filters = filter_names(task)
    if filter_ is not None and filter_ not in filters:
        raise InputError(f"Expected filter to be one of {', '.join(filters)} ({name!r}), but got {filter_!r}.")
    chosen_filter = filters[0] if filter_ is None else filter_
    made_up = ["" if one.request_type == "generate_until" else (-1.0 - one.idx, False) for one in requests]
    with calm():
        values = measure(loaded, chosen_filter, requests, made_up)
    chosen = _choose_metric(loaded, values, metric)
    higher = task.higher_is_better().get(chosen) if higher_is_better is None else higher_is_better
    if higher is None:
        raise InputError(
            f"Expected {name!r} to say whether a higher {chosen} is better, but it does not. Set higher_is_better."
        )
    known = (0.0, 1.0) if _is_share(task, chosen) else (-math.inf, math.inf)
    lowest, highest = (own if given is None else given for given, own in zip(bounds, known, strict=True))
    return Scoring(loaded, chosen, chosen_filter, 1 if higher else -1, (lowest, highest))


def as_number(value: object) -> float | None:
    """Return a single number as a float, and None for anything else.

    >>> as_number(True), as_number(2), as_number((1, 2))
    (1.0, 2.0, None)
    """
    import numpy

    single = isinstance(value, bool | int | float | numpy.generic) and not isinstance(value, str | bytes)
    return float(value) if single else None  # type: ignore[arg-type]


def _choose_metric(loaded: LoadedTask, values: Mapping[str, Any], metric: str | None) -> str:
    aggregations = loaded.task.aggregation()
    # The harness takes the mean of what it has no other aggregation for.
    means = [
        name
        for name in [*aggregations, *(name for name in values if name not in aggregations)]
        if _is_mean(aggregations.get(name)) and as_number(values.get(name)) is not None
    ]
    if metric is None and means:
        return means[0]
    if metric in means:
        return str(metric)
    can = f"Metrics of {loaded.name!r} that can: {', '.join(means)}." if means else f"None of {loaded.name!r} can."
    if metric is None or metric in aggregations or metric in values:
        meant = f"{metric!r} is" if metric is not None else f"{', '.join(aggregations) or 'nothing'} is"
        raise InputError(
            f"Expected a metric that is a mean of one number per document, as the utility of a search is, but {meant} "
            f"made otherwise, for example from all documents at once. {can}"
            + ("" if means else " For perplexities use the objective MeanLogLikelihood.")
        )
    close = difflib.get_close_matches(str(metric), [*aggregations, *values], n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise InputError(f"Expected a metric of {loaded.name!r}, but it has no {metric!r}.{hint} {can}")


def _is_mean(aggregation: object) -> bool:
    import numpy
    from lm_eval.api.metrics import mean

    return aggregation in (None, mean, numpy.mean, statistics.mean, statistics.fmean)


def _is_share(task: Any, metric: str) -> bool:
    """Whether a metric is computed by the harness's own code and known to lie between 0 and 1."""
    return metric in _SHARES and computes_metric_itself(task, metric)
