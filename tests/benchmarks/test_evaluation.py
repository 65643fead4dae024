"""The comparison with `peft` runs for real at a tiny size; no time is asserted."""

import pytest

import evaluation
from demo_world import demo_swarm
from tests.benchmarks.last_line import last_line

TINY = ("--particles", "3", "--examples", "6", "--new-tokens", "4", "--repeats", "1", "--threads", "1")
BATCHES = ("--batches", "4", "6", "--mixed-batches", "5", "18")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["neighbours", "lists"])
def test_every_peer_replies_as_we_do(task: str, capsys: "pytest.CaptureFixture[str]") -> None:
    evaluation.main(["--task", task, *TINY, *BATCHES])
    numbers = last_line(capsys)
    assert numbers["benchmark"] == "evaluation"
    assert numbers["different_replies"] == {"plain": 0, "best": 0, "mixed": 0}
    assert set(numbers["seconds"]) == {"plain", "best", "mixed", "floor", "ours"}
    assert all(len(turns) == 1 for turns in numbers["seconds"].values())
    assert set(numbers["tried"]["best"]) == {"4 rows", "6 rows", "4 rows, sorted", "6 rows, sorted"}


def test_particles_reply_differently_so_that_a_mix_up_would_show() -> None:
    swarm = demo_swarm("neighbours", particles=3, examples=6, new_tokens=4, seed=0)
    replies = evaluation.Ours(swarm).evaluate()
    assert len({tuple(row) for row in replies}) == 3
    assert [len(row) for row in replies] == [6, 6, 6]


def test_a_swarm_has_the_experts_in_front_and_children_behind() -> None:
    swarm = demo_swarm("kinds", particles=12, examples=1, new_tokens=3, seed=0)
    assert swarm.positions[:10].equal(swarm.pool.vectors)
    assert swarm.positions.shape == (12, swarm.pool.layout.size)


def test_at_a_real_models_size_the_peer_replies_and_chooses_as_we_do(capsys: "pytest.CaptureFixture[str]") -> None:
    size = ["--regime", "real", "--size", "tiny", "--prompt-tokens", "17", "30"]
    evaluation.main([*size, *TINY, "--clock", "cpu", "--peer-batch", "5"])
    numbers = last_line(capsys)
    assert (numbers["benchmark"], numbers["regime"], numbers["examples"]) == ("evaluation", "real", 6)
    for kind in ("generation", "likelihood"):
        assert set(numbers[kind]["seconds"]) == {"peer", "floor", "ours"}
        assert numbers[kind]["different_replies"] == 0
    assert numbers["generation"]["distinct_replies"] > 6, "particles should reply differently"
    assert numbers["likelihood"]["distinct_replies"] > 1
