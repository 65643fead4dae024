import shutil
from pathlib import Path

import pytest

import page_picture


@pytest.mark.browser
def test_the_picture_is_of_the_size_that_was_asked_for(tmp_path: Path) -> None:
    if shutil.which("chromedriver") is None:
        pytest.skip("chromedriver is not on the path")
    for module in ("selenium", "vl_convert"):
        pytest.importorskip(module)
    (tmp_path / "history.csv").write_text(
        "iteration,global_best,evaluations,generated_tokens,evaluation_seconds\n0,0.5,9,9,1\n1,0.75,9,9,1\n",
        encoding="utf-8",
    )
    picture = tmp_path / "page.png"
    told = page_picture.draw(tmp_path, picture, height=300)
    content = picture.read_bytes()
    assert told["bytes"] == len(content)
    # A PNG begins with eight bytes of its own, the length and the name of its first part, then width and height.
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert [int.from_bytes(content[place : place + 4], "big") for place in (16, 20)] == [page_picture.WIDTH, 300]
