"""The closing table and `summary.json`, against the record of the run and plain `peft`."""

import json
from pathlib import Path

import lightning as L
import pytest
import torch

from swarm_lightning.callbacks import ExportBest, History, RestartStagnant, Summary
from tests.search.tiny_search import World, read_rows, run_swarm, search


def test_the_summary_agrees_with_the_history_the_printed_table_and_plain_peft(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search(world, tmp_path, callbacks=[RestartStagnant(2), History(), ExportBest(), Summary()], particles=5)
    printed = capsys.readouterr().out
    rows = read_rows(tmp_path / "history.csv")
    summary = json.loads((tmp_path / "summary.json").read_text())

    first = [float(rows[0][f"utility/particle_{index:02d}"]) for index in range(4)]  # the experts, without a child
    initial = ("colours", "numbers", "stories", "towns")[first.index(max(first))]
    best, found = summary["validation"]
    assert (best["detail"], best["utility"]) == (initial, max(first))
    assert (found["detail"], found["utility"]) == (f"particle {summary['particle']}", float(rows[-1]["global_best"]))
    assert summary["iterations"] == int(rows[-1]["iteration"]) == 3
    assert summary["restarts"] == float(rows[-1]["restarts"])
    assert summary["evaluations"] == sum(float(row["evaluations"]) for row in rows) <= 4 * 5 * 8
    assert summary["generated_tokens"] == sum(float(row["generated_tokens"]) for row in rows)
    assert summary["forward_passes"] == sum(float(row["forward_passes"]) for row in rows) > 0

    for row, adapter in zip(summary["test"], (world.experts / initial, tmp_path / "best_expert"), strict=True):
        scores = world.score(world.replies(world.load(adapter), "test"), "test")
        assert row["utility"] == sum(scores) / len(scores)
        assert row["examples"] == 8

    scores_of = [
        torch.tensor(world.score(world.replies(world.load(adapter), "test"), "test"), dtype=torch.float64)
        for adapter in (world.experts / initial, tmp_path / "best_expert")
    ]
    gain = summary["test"][1]["gain"]
    assert gain["difference"] == float((scores_of[1] - scores_of[0]).mean())
    assert gain["low"] <= gain["difference"] <= gain["high"]
    assert gain["within_noise"] is (gain["low"] <= 0 <= gain["high"])
    assert "gain" not in summary["validation"][1], "validation has chosen the expert"
    told = f"{gain['difference']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"
    told += ": within noise" if gain["within_noise"] else ""
    assert f"Gain of the best found expert on test, with its 95% interval: {told}\n" in printed
    assert f"Gain on test (held back): {told} (in brackets" in (tmp_path / "best_expert" / "README.md").read_text()

    lines = [line for line in printed.splitlines() if line.startswith("│")]
    for line, before, after in zip(lines, summary["validation"], summary["test"], strict=True):
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        assert cells == [before["name"], before["detail"], f"{before['utility']:.4f}", f"{after['utility']:.4f}"]
    asked = f"{summary['evaluations']} evaluations ({summary['forward_passes']} forward passes) in "
    assert f"3 iterations (all done), {summary['restarts']} restarts, {asked}" in printed
    assert f"Run folder: {tmp_path}" in printed
    assert f"Best expert: {tmp_path / 'best_expert'}" in printed


class _Interrupt(L.Callback):
    def on_train_batch_end(self, *args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt


def test_an_interrupted_search_says_how_to_go_on(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        search(world, tmp_path, callbacks=[_Interrupt(), Summary()], particles=5)
    assert f"Interrupted. Resume with: swarm fit --resume {tmp_path}" in capsys.readouterr().out


def test_a_search_that_a_limit_of_the_trainer_ends_is_not_said_to_have_lost_patience(
    world: World, tmp_path: Path
) -> None:
    config = world.config(tmp_path / "runs", trainer={"max_epochs": 2, "max_steps": 5})
    assert "2 iterations (ended by a limit of the trainer)" in run_swarm(config, "fit", tmp_path)
