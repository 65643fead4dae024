"""`swarm compare` from end to end, and its numbers recomputed by plain `peft` from what it exported."""

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swarm_lightning.cli.main import main
from tests.baselines.counting import CountingMatch, asked
from tests.cli.conftest import states_below
from tests.search.tiny_search import World, read_rows, run_swarm

PRODUCTS = ["product_mean", "task_arithmetic", "product_soup"]
FIXED = ["base_model", "best_expert", "data_merge", "prediction_merge", "uniform_soup", "greedy_soup", *PRODUCTS]
DRAWN = ["dare_ties", "random_search", "genome", "model_swarm"]
SEEDS = [0, 5]


@dataclass
class Compared:
    config: dict[str, Any]
    folder: Path
    printed: str
    asked: int

    @property
    def rows(self) -> dict[str, dict[str, str]]:
        return {row["method"]: row for row in read_rows(self.folder / "compare.csv")}

    def result(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.folder / "results" / f"{name}.json").read_text()))


def config_of(world: World, root: Path, **compare: Any) -> dict[str, Any]:
    objective = {"class_path": "tests.baselines.counting.CountingMatch"}
    config = world.config(root, model={"objective": objective}, trainer={"max_steps": 2})
    return {**config, "compare": {"seeds": SEEDS, "resamples": 200, **compare}}


@pytest.fixture(scope="module")
def compared(world: World, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    root = tmp_path_factory.mktemp("compared")
    config = config_of(world, root / "runs", methods=[*DRAWN, *FIXED])
    before = asked()
    printed = run_swarm(config, "compare", root)
    return Compared(config, root / "runs" / "version_0", printed, asked() - before)


def test_a_comparison_leaves_its_table_picture_results_adapters_and_searches(
    compared: Compared, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    assert {path.name for path in compared.folder.iterdir()} == {
        "config.yaml", "comparison.json", "compare.md", "compare.csv", "compare.png", "results", "adapters",
        "model_swarm", "report.html",
    }  # fmt: skip
    assert {path.name for path in (compared.folder / "model_swarm" / "seed_5").iterdir()} == {
        "checkpoints", "history.csv", "history.parquet", "score_tables", "sketches",
    }  # fmt: skip
    assert (compared.folder / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert f"Comparison: {compared.folder}" in compared.printed
    assert states_below(compared.folder.parent) == {"version_0": "compared"}  # its searches have no lines
    with pytest.raises(SystemExit):
        main(["runs", str(compared.folder)])
    assert "or it is not a search" in capsys.readouterr().err


def test_terminal_files_and_page_mark_what_is_no_single_model_and_say_what_the_sign_means(compared: Compared) -> None:
    assert compared.rows["prediction_merge"]["sign"] == "‡"
    for text in (compared.printed, *((compared.folder / name).read_text() for name in ("compare.md", "report.html"))):
        assert "prediction merge ‡" in text
        assert text.count("‡ no single model: every answer costs") == 1


def test_rows_stand_in_the_order_of_the_methods_and_an_absent_one_says_why(compared: Compared) -> None:
    order = ["base_model", "best_expert", "data_merge", "prediction_merge", "uniform_soup", "product_mean"]
    order += ["task_arithmetic", "dare_ties", "greedy_soup", "product_soup", "random_search", "genome", "model_swarm"]
    assert list(compared.rows) == order
    assert compared.rows["data_merge"]["absent"].startswith("no adapter of all training data given")
    assert "data merge is absent: no adapter of all training data given" in compared.printed
    assert {name: row["runs"] for name, row in compared.rows.items()} == {
        name: "0" if name == "data_merge" else "1" if name in FIXED else "2" for name in order
    }


def test_searches_get_what_the_swarm_asked_with_the_same_seed(compared: Compared) -> None:
    for seed in SEEDS:
        history = read_rows(compared.folder / "model_swarm" / f"seed_{seed}" / "history.csv")
        swarm = compared.result(f"model_swarm_seed_{seed}")["evaluations"]
        assert swarm == sum(float(row["evaluations"]) for row in history)
        passes = compared.result(f"model_swarm_seed_{seed}")["forward_passes"]
        assert passes == sum(float(row["forward_passes"]) for row in history) > 0
        for name in ("random_search", "genome"):
            spent = compared.result(f"{name}_seed_{seed}")["evaluations"]
            assert swarm - 8 < spent <= swarm


def test_all_evaluations_are_accounted_for(compared: Compared, world: World) -> None:
    results = [json.loads(path.read_text()) for path in (compared.folder / "results").iterdir()]
    test = len(world.split("test"))
    voters = 4  # prediction merge asks all experts
    tests = sum(test * (voters if result["method"] == "prediction_merge" else 1) for result in results)
    assert compared.asked == sum(result["evaluations"] for result in results) + tests


def test_forward_passes_stand_in_the_table_its_csv_and_the_page(compared: Compared) -> None:
    rows = [row for row in compared.rows.values() if row["runs"] != "0"]
    assert all(int(row["forward_passes"]) > 0 for row in rows)
    table = (compared.folder / "compare.md").read_text()
    assert "| evaluations | forward passes | seconds |" in table
    assert all(f"| {row['evaluations']} | {row['forward_passes']} | " in table for row in rows)
    assert "passes" in compared.printed
    assert "forward passes" in (compared.folder / "report.html").read_text()


EXPORTED = ["best_expert", "greedy_soup", "product_soup", "random_search_seed_5", "model_swarm_seed_0"]


@pytest.mark.parametrize("name", EXPORTED)
def test_scores_are_those_that_plain_peft_finds_for_the_exported_adapter(
    compared: Compared, world: World, name: str
) -> None:
    result = compared.result(name)
    model = world.load(compared.folder / result["adapter"])
    validation = world.score(world.replies(model, "dev"), "dev")
    assert result["validation"] == pytest.approx(sum(validation) / len(validation))
    assert result["test"] == world.score(world.replies(model, "test"), "test")


def test_the_uniform_soup_holds_the_mean_of_the_files(compared: Compared, world: World) -> None:
    from safetensors.torch import load_file

    experts = [load_file(folder / "adapter_model.safetensors") for folder in sorted(world.experts.iterdir())]
    soup = load_file(compared.folder / "adapters" / "uniform_soup" / "adapter_model.safetensors")
    for tensor_name, tensor in soup.items():
        mean = sum(expert[tensor_name].double() for expert in experts) / len(experts)
        assert tensor.double().numpy() == pytest.approx(mean.numpy(), abs=1e-6)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", PRODUCTS)
def test_mixtures_of_products_hold_the_weighted_sums_of_the_experts_products(
    compared: Compared, world: World, name: str
) -> None:
    from safetensors.torch import load_file

    folders = sorted(world.experts.iterdir())
    detail = compared.result(name)["detail"]
    if name == "task_arithmetic":
        weights = [float(detail.removeprefix("scale "))] * len(folders)
    else:
        chosen = [folder.name for folder in folders]
        if name == "product_soup":
            chosen = detail.removeprefix("mean of the products of ").split(", ")
        weights = [(folder.name in chosen) / len(chosen) for folder in folders]
    made = load_file(compared.folder / "adapters" / name / "adapter_model.safetensors")
    files = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    for key in (key for key in made if "lora_A" in key):
        up = key.replace("lora_A", "lora_B")
        products = [2 * file[up].double() @ file[key].double() for file in files]  # alpha 8, rank 4
        expected = sum(weight * product for weight, product in zip(weights, products, strict=True))
        found = made[up].double() @ made[key].double()
        assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-6)  # type: ignore[union-attr]
        assert len(made[key]) == 4 * sum(weight > 0 for weight in weights)


def test_the_vote_is_a_majority_of_the_experts_answers(compared: Compared, world: World) -> None:
    # Without a majority among equals: whatever wins has at least as many voters as the right answer, if it is wrong.
    replies = [world.replies(world.load(folder), "test") for folder in sorted(world.experts.iterdir())]
    gold = [record["answer"] for record in world.split("test")]
    right = [sum(answer in row[place] for row in replies) for place, answer in enumerate(gold)]
    scores = compared.result("prediction_merge")["test"]
    assert all(count > 0 for count, score in zip(right, scores, strict=True) if score == 1)


@pytest.mark.slow
def test_an_interrupted_comparison_makes_what_is_missing_and_keeps_the_rest(compared: Compared, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "version_0"
    shutil.copytree(compared.folder, folder)
    lost = json.loads((folder / "results" / "genome_seed_5.json").read_text())
    (folder / "results" / "genome_seed_5.json").unlink()
    config = {**compared.config, "trainer": {**compared.config["trainer"], "default_root_dir": str(tmp_path / "runs")}}
    before = asked()
    printed = run_swarm(config, "compare", tmp_path, "--compare.output", "last")
    made = json.loads((folder / "results" / "genome_seed_5.json").read_text())
    assert asked() - before == made["evaluations"] + len(made["test"])
    assert {**made, "seconds": 0} == {**lost, "seconds": 0}
    assert printed.count("kept from before") == len(FIXED) - 1 + 2 * len(DRAWN) - 1
    assert not (tmp_path / "runs" / "version_1").exists()


def test_rows_of_earlier_runs_stay_in_the_table(compared: Compared, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "version_0"
    shutil.copytree(compared.folder, folder)
    config = {**compared.config, "trainer": {**compared.config["trainer"], "default_root_dir": str(tmp_path / "runs")}}
    fewer = ["--compare.methods", "[model_swarm]", "--compare.seeds", f"[{SEEDS[0]}]", "--compare.output", "last"]
    before = asked()
    run_swarm(config, "compare", tmp_path, *fewer)
    assert asked() == before
    rows = {row["method"]: row for row in read_rows(folder / "compare.csv")}
    assert rows == {name: row for name, row in compared.rows.items() if not row["absent"]}


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = ["uniform_soup", "greedy_soup", "random_search"]
    config = config_of(world, tmp_path / "runs", methods=methods, seeds=[2], evaluations=40)
    # The soup asks 8 + 12 examples, the greedy soup 7 x 8 + 12; then the random search has begun.
    monkeypatch.setattr(CountingMatch, "interrupted_at", asked() + 20 + 68 + 8)
    with pytest.raises(SystemExit) as ended:
        run_swarm(config, "compare", tmp_path)
    monkeypatch.undo()
    folder = tmp_path / "runs" / "version_0"
    assert ended.value.code == 130
    assert {path.name for path in (folder / "results").iterdir()} == {"uniform_soup.json", "greedy_soup.json"}
    assert list(row["method"] for row in read_rows(folder / "compare.csv")) == ["uniform_soup", "greedy_soup"]
    printed = run_swarm(config, "compare", tmp_path, "--compare.output", str(folder))
    assert printed.count("kept from before") == 2
    assert [row["method"] for row in read_rows(folder / "compare.csv")] == methods


@pytest.mark.parametrize("method", ["greedy_soup", "random_search", "genome"])
def test_a_method_that_was_interrupted_does_not_ask_again_what_it_knew(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    own = {"methods": [method], "seeds": [2], "evaluations": 60}
    run_swarm(config_of(world, tmp_path / "runs", **own, output=str(tmp_path / "whole")), "compare", tmp_path)
    begun = asked()
    config = config_of(world, tmp_path / "runs", **own, output=str(tmp_path / "again"))
    monkeypatch.setattr(CountingMatch, "interrupted_at", begun + 36)
    with pytest.raises(SystemExit):
        run_swarm(config, "compare", tmp_path)
    monkeypatch.undo()
    left = tmp_path / "again" / "running"
    assert {entry.name for entry in left.iterdir()} == {"scores_0.jsonl", "seconds.json"}
    run_swarm(config, "compare", tmp_path)
    (path,) = (tmp_path / "whole" / "results").iterdir()
    whole, again = (json.loads((tmp_path / name / "results" / path.name).read_text()) for name in ("whole", "again"))
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    assert asked() - begun == whole["evaluations"] + len(whole["test"])
    assert not left.exists()


@pytest.mark.slow
def test_a_search_that_was_interrupted_goes_on_from_its_checkpoint(world: World, tmp_path: Path) -> None:
    config = config_of(world, tmp_path / "runs", methods=["model_swarm"], seeds=[1], output=str(tmp_path / "here"))
    run_swarm(config, "compare", tmp_path)
    path = tmp_path / "here" / "results" / "model_swarm_seed_1.json"
    whole = json.loads(path.read_text())
    path.unlink()  # the search has ended, its row is lost
    before = asked()
    run_swarm(config, "compare", tmp_path)
    assert asked() - before == len(whole["test"])
    assert {**json.loads(path.read_text()), "seconds": 0} == {**whole, "seconds": 0}


def test_a_comparison_is_not_continued_with_another_search(
    compared: Compared, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_swarm(
            compared.config, "compare", compared.folder.parent.parent,
            *("--compare.output", str(compared.folder), "--trainer.max_steps", "3"),
        )  # fmt: skip
    assert ended.value.code == 2
    assert "trainer.max_steps is 3, in the comparison 2" in capsys.readouterr().err


@pytest.mark.slow
def test_sampled_replies_do_not_depend_on_what_was_made_before(world: World, tmp_path: Path) -> None:
    config = config_of(world, tmp_path / "runs", methods=["base_model", "uniform_soup", "model_swarm"], seeds=[5])
    config["model"]["objective"]["init_args"] = {"temperature": 1.5}
    run_swarm(config, "compare", tmp_path)
    paths = [tmp_path / "runs" / "version_0" / "results" / f"{name}.json" for name in ("base_model", "uniform_soup")]
    first = [{**json.loads(path.read_text()), "seconds": 0} for path in paths]
    for path in paths:
        path.unlink()
    config["compare"]["methods"] = ["base_model", "uniform_soup"]  # without a search before
    config["compare"]["output"] = "last"
    run_swarm({**config, "seed_everything": 11}, "compare", tmp_path)
    assert [{**json.loads(path.read_text()), "seconds": 0} for path in paths] == first


@pytest.mark.slow
def test_a_wrong_path_shows_before_the_search_and_can_be_mended(world: World, tmp_path: Path) -> None:
    config = config_of(world, tmp_path / "runs", methods=["data_merge", "model_swarm"], seeds=[5])
    config["compare"]["data_merge"] = str(tmp_path / "everything")
    printed = run_swarm(config, "compare", tmp_path)
    assert printed.index("data merge: absent") < printed.index("model swarm, seed 5")
    shutil.copytree(world.experts / "towns", tmp_path / "all_data")
    mended = {**config, "compare": {**config["compare"], "data_merge": str(tmp_path / "all_data"), "output": "last"}}
    printed = run_swarm(mended, "compare", tmp_path)
    assert "data merge: validation" in printed
    assert printed.count("kept from before") == 1
    with pytest.raises(SystemExit) as ended:  # now there is a row that depends on it
        run_swarm(config, "compare", tmp_path, "--compare.output", "last")
    assert ended.value.code == 2


@pytest.mark.slow
def test_too_few_experts_leave_a_row_out_and_stop_nothing(world: World, tmp_path: Path) -> None:
    two = [str(world.experts / name) for name in ("towns", "stories")]
    config = config_of(world, tmp_path / "runs", methods=["prediction_merge", "uniform_soup", "genome"], evaluations=30)
    config["model"]["experts"] = two
    run_swarm(config, "compare", tmp_path)
    with (tmp_path / "runs" / "version_0" / "compare.csv").open(newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert rows["prediction_merge"]["absent"] == "it needs 3 experts or more, and there are 2"
    assert rows["genome"]["absent"].startswith("the budget of 30 evaluations is too small for a population of 5")
    assert (rows["uniform_soup"]["absent"], rows["uniform_soup"]["runs"]) == ("", "1")


def test_a_composition_that_breaks_the_model_leaves_its_row_out(world: World, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    # Every weight is finite, but no product of A and B is.
    shutil.copytree(world.experts / "towns", tmp_path / "everything")
    weights = tmp_path / "everything" / "adapter_model.safetensors"
    save_file({name: tensor * 1e30 for name, tensor in load_file(weights).items()}, weights)
    methods = ["data_merge", "base_model"]
    config = config_of(world, tmp_path / "runs", methods=methods, data_merge=str(tmp_path / "everything"))
    run_swarm(config, "compare", tmp_path)
    rows = {row["method"]: row for row in read_rows(tmp_path / "runs" / "version_0" / "compare.csv")}
    assert "breaks the model" in rows["data_merge"]["absent"]
    assert rows["base_model"]["runs"] == "1"


def test_an_unknown_method_is_refused_before_anything_is_written(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_swarm(config_of(world, tmp_path / "runs", methods=["soup"]), "compare", tmp_path)
    assert ended.value.code == 2
    assert "Expected compare.methods to name some of base_model" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_there_is_no_newest_comparison_to_go_on_with(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_swarm(config_of(world, tmp_path / "runs", output="last"), "compare", tmp_path)
    assert ended.value.code == 2
    assert "--compare.output last" in capsys.readouterr().err
