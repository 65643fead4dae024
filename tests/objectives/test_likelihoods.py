import math
import random

import pytest

from swarm_lightning.objectives.likelihoods import Likelihoods
from swarm_lightning.objectives.multiple_choice import all_most_likely, most_likely
from swarm_lightning.objectives.protocol import Likelihood

VALUES = [-3.0, -2.0, -2.0, -1.0, -math.inf, math.nan]


@pytest.fixture(scope="module")
def rows() -> list[list[Likelihood]]:
    """Rows of up to four continuations, with ties, infinities, and numbers that are none."""
    draw = random.Random(0)
    return [
        [
            Likelihood(draw.choice(VALUES), draw.randint(1, 3), draw.randint(1, 3), draw.random() < 0.5)
            for _ in range(draw.randint(0, 4))
        ]
        for _ in range(300)
    ]


@pytest.mark.parametrize("normalize", ["none", "tokens", "characters"])
def test_the_choices_of_many_rows_are_those_of_each(rows: list[list[Likelihood]], normalize: str) -> None:
    expected = [most_likely(row, normalize) for row in rows]
    assert None in expected
    assert 3 in expected
    assert all_most_likely(Likelihoods.of(rows), normalize) == expected


def test_a_table_reads_as_the_rows_that_it_was_made_of(rows: list[list[Likelihood]]) -> None:
    table = Likelihoods.of(rows)
    assert [repr(row) for row in table] == [repr(row) for row in rows]  # by repr: NaN equals nothing
    assert table.broken() == [
        number for number, row in enumerate(rows) if any(math.isnan(one.logarithm) for one in row)
    ]
