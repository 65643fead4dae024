import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.objectives.checks import check_at_least_one, check_one_of, check_same_model


def test_whole_numbers_from_one_pass() -> None:
    check_at_least_one("batch_size", 1)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "3", None])
def test_anything_else_is_refused_by_name_and_value(value: object) -> None:
    with pytest.raises(InputError, match=f"batch_size.*{value}"):
        check_at_least_one("batch_size", value)  # type: ignore[arg-type]


def test_an_unknown_word_is_refused_with_the_words_there_are() -> None:
    check_one_of("rule", "exact", ("contained", "exact"))
    with pytest.raises(InputError, match="rule to be one of contained, exact, but got 'equal'"):
        check_one_of("rule", "equal", ("contained", "exact"))


def test_another_model_than_a_search_began_with_is_refused_where_both_are_known() -> None:
    for present, saved in (({}, {}), ({"fingerprint": "a"}, {}), ({"fingerprint": None}, {"fingerprint": "b"})):
        check_same_model("classifier", "folder", present, saved)
    check_same_model("classifier", "folder", {"fingerprint": "a"}, {"fingerprint": "a", "lowest": 1.0})
    with pytest.raises(InputError, match="the classifier that the search began with, but 'folder' holds another one"):
        check_same_model("classifier", "folder", {"fingerprint": "a"}, {"fingerprint": "b"})
