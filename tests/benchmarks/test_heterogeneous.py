import json
from pathlib import Path

import heterogeneous


def test_the_table_tells_means_spreads_and_gains_over_the_best_expert() -> None:
    found = [
        {"plain swarm": 60.0, "best single expert": 50.0, "replies of plain swarm": 100},
        {"plain swarm": 64.0, "best single expert": 56.0, "replies of plain swarm": 3000},
    ]
    # The standard deviation of 60 and 64 is 8 ** 0.5; the gains are 10 and 8.
    assert heterogeneous.table(found).splitlines()[2:] == [
        "| plain swarm | 62.0 | 2.8 | +9.0 | 1,550 |",
        "| best single expert | 53.0 | 4.2 | +0.0 |  |",
    ]


def test_what_is_kept_with_the_same_settings_and_seed_is_not_searched_again(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    lines = [
        {"settings": {"steps": 6}, "seed": 0, "rows": {"roles only": 1.0}},
        {"settings": {"steps": 6}, "seed": 1, "rows": {"roles only": 2.0}},
        {"settings": {"steps": 7}, "seed": 0, "rows": {"roles only": 3.0}},
        {"settings": {"steps": 6}, "seed": 0, "rows": {"plain swarm": 4.0}},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert heterogeneous.kept_rows(file, {"steps": 6}, 0) == {"roles only": 1.0, "plain swarm": 4.0}
    assert heterogeneous.kept_rows(tmp_path / "none.jsonl", {"steps": 6}, 0) == {}
