import json
from pathlib import Path

import climb


def test_the_picture_is_drawn_and_the_numbers_are_those_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(
        "iteration,global_best,utility/particle_00,utility/particle_01\n0,0.5,0.5,0.25\n1,0.75,,0.75\n",
        encoding="utf-8",
    )
    summary = {"validation": [{"name": "best initial expert", "utility": 0.5}]}
    (tmp_path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    picture = tmp_path / "climb.png"
    assert climb.draw(tmp_path, picture) == {"iterations": 1, "particles": 2, "expert": 0.5, "found": 0.75}
    assert picture.read_bytes().startswith(b"\x89PNG")
