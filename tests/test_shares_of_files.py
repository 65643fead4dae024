"""A test file that grows beyond its share of the run is named."""

from tests.shares_of_files import grown, lines_about


def test_a_file_that_takes_more_than_its_share_is_named_with_what_to_do() -> None:
    others = {f"tests/test_{number}.py": 3.0 for number in range(29)}  # 87 seconds
    seconds = {"tests/test_large.py": 13.0, **others}
    assert grown(seconds) == ["tests/test_large.py"]
    lines = lines_about(seconds)
    assert lines[0] == "    13 s  13%  tests/test_large.py"
    assert "tests/test_large.py takes 13%. Share searches" in lines[-1]


def test_files_of_one_size_are_fine() -> None:
    assert grown({f"tests/test_{number}.py": 5.0 for number in range(20)}) == []
