"""Emergence, ranks, coefficients and places, against calculations by hand."""

import json
from pathlib import Path

import pandas
import pytest
import torch
from safetensors.torch import save_file

from swarm_lightning.report.analyses import best_scores, composition, emergence, heat, places, rank_at_start, winner_of
from swarm_lightning.report.climb import climb
from swarm_lightning.report.figures import made_of
from swarm_lightning.report.notebook import read_run
from swarm_lightning.report.run import Run
from swarm_lightning.report.sections import emerging

# Two experts and a child, three examples. The child ends best; it alone answers the third example.
FIRST = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
LAST = torch.tensor([[0.0, torch.nan, torch.nan], [1.0, 0.0, torch.nan], [0.0, 1.0, 1.0]], dtype=torch.float64)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "run.json").write_text(json.dumps({"state": "ended", "experts": ["a", "b"]}))
    rows = [
        (iteration, particle, utility, utility, utility, best, False)
        for iteration, utilities, bests in (
            (0, (1 / 3, 2 / 3, 0.0), (1 / 3, 2 / 3, 0.0)),
            (1, (None, None, 2.5 / 3), (1 / 3, 2 / 3, 2.5 / 3)),
        )
        for particle, (utility, best) in enumerate(zip(utilities, bests, strict=True))
    ]
    names = ["iteration", "particle", "utility", "at_least", "at_most", "personal_best", "restarted"]
    pandas.DataFrame(rows, columns=names).to_parquet(tmp_path / "history.parquet")
    for kind in ("score_tables", "sketches"):
        (tmp_path / kind).mkdir()
    experts = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]], dtype=torch.float64)
    children = (torch.tensor([[0.5, 1.0, 0.0]]).double(), torch.tensor([[0.25, -1.0, 0.0]]).double())
    for iteration, (scores, child) in enumerate(zip((FIRST, LAST), children, strict=True)):
        save_file({"scores": scores}, tmp_path / "score_tables" / f"iteration_{iteration:04d}.safetensors")
        tensors = {"positions": torch.cat([experts, child]), "found": child[0].clone()}
        save_file(tensors, tmp_path / "sketches" / f"iteration_{iteration:04d}.safetensors")
    return read_run(tmp_path)


def test_examples_that_nobody_answered_before_emerge_and_others_are_lost(run: Run) -> None:
    # The personal bests are the first row, the second row and the last position of the child.
    assert best_scores(run).equal(torch.stack([FIRST[0], FIRST[1], LAST[2]]))
    found = emergence(run)
    assert found is not None
    assert found.counts == {
        "examples": 3,
        "right by no expert before": 1,
        "of these right by the winner now": 1,
        "of these right by any particle now": 1,
        "right by some expert before, by no particle now": 0,
    }


def test_of_a_guided_search_the_objective_says_what_emerged_and_what_was_lost(run: Run) -> None:
    logarithms = {"scores": torch.full((3, 3), -0.5, dtype=torch.float64)}
    for iteration in (0, 1):
        save_file(logarithms, run.folder / "score_tables" / f"iteration_{iteration:04d}.safetensors")
    assert emergence(read_run(run.folder)) is None, "a guide's scores are not right or wrong"
    asked = {"experts": FIRST[:2].clone()}
    save_file(asked, run.folder / "score_tables" / "by_objective.safetensors")
    assert emergence(read_run(run.folder)) is None, "the search has not ended"
    save_file({**asked, "found": LAST[2].clone()}, run.folder / "score_tables" / "by_objective.safetensors")
    ended = read_run(run.folder)
    found = emergence(ended)
    assert found is not None
    # Of three examples the experts answer the first and the second, what was found the second and the third.
    assert found.counts == {
        "examples": 3,
        "right by no expert before": 1,
        "of these right by the winner now": 1,
        "right by some expert before, not by the winner now": 1,
    }
    assert "What others answer at the end is not known" in emerging(ended, 0)
    (run.folder / "history.parquet").unlink()  # as that of an evolution strategy, which moves no particles
    assert emergence(read_run(run.folder)) is not None


def test_the_winner_was_last_at_the_start(run: Run) -> None:
    assert (winner_of(run), rank_at_start(run)) == (2, 3)


def test_the_winner_is_a_quarter_of_one_expert_less_half_of_the_other(run: Run) -> None:
    shares, outside = composition(run)
    assert shares.expert.tolist() == ["a", "b"]
    assert shares.coefficient.tolist() == pytest.approx([0.25, -0.5])
    assert outside == 0.0


def test_the_shares_of_a_mixture_of_probabilities_leave_out_what_counts_as_nothing(run: Run) -> None:
    (run.folder / "best_expert").mkdir()
    mixed = {"format": 1, "kind": "token swarm", "mixture": "probabilities", "base": "x", "dtype": "auto"}
    experts = [{"name": name, "source": name, "kind": "adapter", "number": 0.0} for name in "ab"]
    described = json.dumps({**mixed, "experts": experts, "fingerprint": ""})
    (run.folder / "best_expert" / "swarm.json").write_text(described)
    figure = made_of(run)
    assert figure is not None
    assert figure.title == "The mixture"
    assert figure.data.share.tolist() == [1.0, 0.0]  # of 0.25 and -0.5


def test_the_scores_on_test_are_not_drawn_among_those_of_a_guide(run: Run) -> None:
    head = "iteration,global_best,evaluations,evaluation_seconds\n"
    (run.folder / "history.csv").write_text(head + "0,-1.5,9,1.0\n1,-1.25,9,1.0\n")
    summary = {"test": [{"name": name, "utility": 0.5} for name in ("before", "after")]}
    drawn = []
    for guide in ({}, {"guide": {"guide": "GoldLikelihood", "followed": True}}):
        (run.folder / "summary.json").write_text(json.dumps(summary | guide))
        figure = climb(read_run(run.folder))
        assert figure is not None
        drawn.append([layer["mark"]["type"] for layer in figure.spec["layer"]].count("rule"))
    assert drawn == [2, 0]


def test_distances_on_a_map_of_a_plane_are_those_of_the_sketches(run: Run) -> None:
    data = places(run)
    first = torch.tensor(data[data.iteration == 0][["x", "y"]].to_numpy())
    assert float((first[0] - first[1]).norm()) == pytest.approx(5**0.5)
    assert data.share.iloc[0] == pytest.approx(1)


def test_a_heat_map_goes_from_easy_to_hard_and_joins_neighbours_where_there_is_no_room(run: Run) -> None:
    full = heat(run)
    # Two, two and one of three answer the examples: equals keep their order.
    assert full[full.particle == 2].score.tolist() == [0.0, 1.0, 1.0]
    joined = heat(run, cells=6)
    assert joined[joined.particle == 2].score.tolist() == [0.5, 1.0]
    assert joined["to"].tolist()[-1] == 3
