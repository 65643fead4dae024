import math

import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.objectives import GenerationSettings
from swarm_lightning.search.settings import settings_of


def test_stop_strings_are_kept_as_a_tuple_so_that_settings_can_be_compared() -> None:
    assert GenerationSettings(stop=["\n"]) == GenerationSettings(stop=("\n",))
    assert hash(GenerationSettings(stop=["\n"])) == hash(GenerationSettings(stop=("\n",)))


def test_replies_are_greedy_unless_a_temperature_is_set() -> None:
    assert not GenerationSettings(3, ("a",)).sampled
    assert not GenerationSettings(temperature=0).sampled
    assert GenerationSettings(temperature=1e-9).sampled
    assert GenerationSettings(temperature=1, top_p=1, top_k=1).sampled


def test_every_setting_belongs_to_a_search() -> None:
    found = [
        settings_of(GenerationSettings(temperature=0.5)),
        settings_of(GenerationSettings(temperature=1)),
        settings_of(GenerationSettings(temperature=1, top_p=0.9)),
        settings_of(GenerationSettings(temperature=1, top_k=9)),
    ]
    assert all(one != other for place, one in enumerate(found) for other in found[:place])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"stop": "\n"}, "list of strings"),
        ({"stop": [""]}, "one character or more"),
        ({"stop": [3]}, "one character or more"),
        ({"temperature": -0.1}, "temperature to be 0 .greedy. or a number above, but got -0.1"),
        ({"temperature": math.nan}, "but got nan"),
        ({"temperature": math.inf}, "but got inf"),
        ({"temperature": True}, "but got True"),
        ({"temperature": "1"}, "but got '1'"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p to be above 0 and 1 at most .* but got 0.0"),
        ({"temperature": 1.0, "top_p": 1.01}, "but got 1.01"),
        ({"temperature": 1.0, "top_p": math.nan}, "but got nan"),
        ({"temperature": 1.0, "top_k": 0}, "top_k to be a whole number of 1 or more, but got 0"),
        ({"temperature": 1.0, "top_k": 2.5}, "but got 2.5"),
        ({"top_p": 0.9}, "only with a temperature above 0, but got top_p 0.9"),
        ({"top_k": 5}, "only with a temperature above 0, but got top_p 1.0 and top_k 5"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GenerationSettings(**values)  # type: ignore[arg-type]
