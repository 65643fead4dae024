"""The closing summary as plain values."""

import json

from swarm_lightning.search.results import ResultRow, SearchResult


def test_a_result_is_plain_values_that_json_keeps() -> None:
    row = ResultRow("best found expert", "particle 1", 0.5, 8)
    result = SearchResult(
        (row,), (), particle=1, iterations=2, restarts=3, seconds=4.0, evaluations=5, generated_tokens=6
    )
    values = json.loads(json.dumps(result.to_dict()))
    assert values["validation"] == [
        {"name": "best found expert", "detail": "particle 1", "utility": 0.5, "examples": 8}
    ]
    assert values["test"] == []
    assert ResultRow("best found expert", "particle 1", 0.5, 8, win_rate=0.75).to_dict()["win_rate"] == 0.75
    assert (values["particle"], values["iterations"], values["restarts"], values["evaluations"]) == (1, 2, 3, 5)
