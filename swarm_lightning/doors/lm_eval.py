"""Tasks of the lm-evaluation-harness, where their documented methods do not suffice.

Tested with lm-eval 0.4.13. Relied on, besides what its guide to new tasks documents:

- `task._filters`: the task's pipelines of filters, each with a `name` and `apply(instances)`, which reads `resps` of
  every instance and fills `filtered_resps[name]`.
- `Instance(request_type, doc, arguments, idx, metadata, resps)` and the attribute `repeats`.
- `ConfigurableTask._metric_fn_list`: the function of each metric by name; `api.registry.get_metric(name)` is the
  harness's own.
- `ConfigurableTask.process_results` computes the metrics, and `task.config.process_results` is a task's own way.
"""

from collections.abc import Sequence
from typing import Any


def filter_names(task: Any) -> list[str]:
    """Return the names of a task's pipelines of filters, in order."""
    return [one.name for one in task._filters]


def filtered(task: Any, name: str, requests: Sequence[Any], document: Any, results: Sequence[Any]) -> list[Any]:
    """Return what a pipeline of filters makes of the results of one document's requests.

    Args:
        task: Of the harness.
        name: The pipeline's; one of `filter_names`.
        requests: The document's, as the task has constructed them; they stay as they are.
        document: What the filters get to see of it.
        results: One for each request.
    """
    from lm_eval.api.instance import Instance

    ensemble = next(one for one in task._filters if one.name == name)
    instances = [
        Instance(one.request_type, document, one.arguments, one.idx, one.metadata, [result] * one.repeats)
        for one, result in zip(requests, results, strict=True)
    ]
    ensemble.apply(instances)
    return [one.filtered_resps[name] for one in instances]


def computes_metric_itself(task: Any, metric: str) -> bool:
    """Tell whether it is the harness's own code that computes a metric of a task, and no code of the task's."""
    from lm_eval.api.registry import get_metric
    from lm_eval.api.task import ConfigurableTask

    own = type(task).process_results is ConfigurableTask.process_results and not callable(task.config.process_results)
    return own and task._metric_fn_list.get(metric) is get_metric(metric)
