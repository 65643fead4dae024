"""A search in one line of Python, on the tiny world, and the objects and names that come with it."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

import swarm_lightning
from swarm_lightning.errors import InputError
from tests.hub_server import HubServer
from tests.search.tiny_search import World, calm_process, content, load_checkpoint


def test_a_search_in_one_line_ends_with_what_can_be_looked_at_exported_and_pushed(
    world: World, hub: HubServer, tmp_path: Path
) -> None:
    (tmp_path / "qa.csv").write_text("question,answer\n" + "".join(f"What is {n} + 1?,{n + 1}\n" for n in range(12)))
    with calm_process():
        found = swarm_lightning.search(  # type: ignore[operator]
            str(world.base), experts=str(world.experts), data=str(tmp_path / "qa.csv"), folder=tmp_path / "runs",
            max_steps=2, particles=5, validation_size=4, test_size=4, progress=False,
        )  # fmt: skip
        exported = found.export(tmp_path / "second", particle=1)
        with pytest.raises(InputError, match="Expected a new folder"):
            found.export(tmp_path / "second")
    assert found.folder == tmp_path / "runs" / "version_0"
    assert found.summary["iterations"] == 2
    memory = load_checkpoint(found.folder)["optimizer_states"][0]["state"][0]
    history = found.history
    assert len(history) == 3 * 5
    bests = history[history["iteration"] == 2].sort_values("particle")["personal_best"].tolist()
    assert bests == pytest.approx(memory["personal_best_utilities"].tolist())
    assert load_file(exported / "adapter_model.safetensors")
    assert (found.best / "adapter_model.safetensors").is_file()
    assert "best found expert" in found._repr_html_()
    assert found.plot(tmp_path / "climb.svg")._repr_svg_() == (tmp_path / "climb.svg").read_text()
    with pytest.raises(InputError, match=r"\.svg or \.png"):
        found.plot(tmp_path / "climb.bmp")
    assert found.push_to_hub("tester/found") == f"{hub.address}/tester/found"
    assert hub.repositories["tester/found"]["files"] == content(found.best)
    assert type(found.module.objective).__name__ == "ExactMatch"


def test_a_name_that_is_no_objective_is_refused() -> None:
    for name in ("ExactMach", "Outcome", "guide_of"):
        with pytest.raises(InputError, match=f"'{name}'"):
            swarm_lightning.run_search("base", experts="experts", data="qa.csv", objective=name)


def test_every_public_objective_callback_guide_optimizer_and_space_can_be_had_from_the_top() -> None:
    from swarm_lightning import callbacks, objectives, swarm
    from swarm_lightning.swarm import spaces

    for room in (callbacks, objectives, swarm, spaces):
        for name in room.__all__:
            assert getattr(swarm_lightning, name) is getattr(room, name), name
    assert [name for name in swarm_lightning.__all__ if getattr(swarm_lightning, name) is None] == []
