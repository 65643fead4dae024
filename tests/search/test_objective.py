"""Whether objective and data go together, and which objective is taken where none is named."""

import pytest

from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.errors import InputError
from swarm_lightning.objectives import ExactMatch, MultipleChoice, MultiTask
from swarm_lightning.search.objective import check_data, check_tasks, chosen_objective

BOTH = MultiTask({"sums": ExactMatch(), "towns": ExactMatch()})


def splits(*tasks: str) -> ExampleSplits:
    return ExampleSplits("", tuple(Example("?", task=task) for task in tasks), ())


def test_the_same_tasks_in_any_order_are_fine_and_so_is_one_dataset_without_tasks() -> None:
    check_tasks(BOTH, splits("towns", "sums", "towns"))
    check_tasks(ExactMatch(), splits("", ""))


@pytest.mark.parametrize(
    ("objective", "tasks", "message"),
    [
        (BOTH, ["sums"], "but data.dataset lacks towns. Give"),
        (BOTH, ["sums", "towns", "hills"], "but the objective lacks hills. Give"),
        (BOTH, ["sums", "hills"], "but data.dataset lacks towns and the objective lacks hills. Give"),
        (BOTH, [""], "a mapping with a dataset for each of the tasks sums, towns, but it is one dataset"),
        (
            ExactMatch(),
            ["sums", "towns"],
            "one dataset for ExactMatch, but data.dataset has one for each of sums, towns",
        ),
    ],
)
def test_other_tasks_are_refused(objective: MultiTask | ExactMatch, tasks: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_tasks(objective, splits(*tasks))


def test_data_of_the_users_own_are_not_looked_at_before_they_come() -> None:
    check_tasks(BOTH, None)
    check_tasks(ExactMatch(), None)


def test_data_without_what_the_objective_needs_are_refused_before_anything_is_loaded() -> None:
    answers = ExampleSplits("qa.csv", (Example("1 + 1?", "2"),), (Example("1 + 2?", "3"),))
    check_data(ExactMatch(), answers)
    check_data(ExactMatch(), None)
    with pytest.raises(InputError, match="Expected choices in the examples of 'qa.csv' for MultipleChoice"):
        check_data(MultipleChoice(), answers)
    tasks = ExampleSplits("two", tuple(Example("?", "2", task=task) for task in ("sums", "towns")), ())
    both = MultiTask({"sums": ExactMatch(), "towns": MultipleChoice()})
    with pytest.raises(InputError, match="Expected choices in the examples of the task towns for MultipleChoice"):
        check_data(both, tasks)


def test_no_objective_can_be_chosen_for_data_that_nobody_has_seen() -> None:
    assert type(chosen_objective(splits_of(Example("1 + 1?", "2")))) is ExactMatch
    with pytest.raises(InputError, match="Expected an objective, because the examples of a dataloader of your own"):
        chosen_objective(None)


def splits_of(*examples: Example) -> ExampleSplits:
    return ExampleSplits("own", examples, examples)
