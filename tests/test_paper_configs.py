"""The configs of the paper's objectives and of its sequel's tasks run on the authors' files, with a tiny real model.

The model's tokenizer knows 512 pieces only, so that prompts are several times as long as with others: its copy here has
room for them. Replies are kept short, and the judge, the Perspective API and the reward model are those of the tests.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from swarm_lightning.cli import main
from swarm_lightning.cli.many_searches.task_table import read_published
from tests.conftest import CHAT_TEMPLATE
from tests.evaluation.any_models import save_families
from tests.objectives.judge_server import KEY, MODEL, JudgeServer, running_judge
from tests.objectives.perspective_server import PerspectiveServer
from tests.objectives.tiny_classifiers import save_decoder
from tests.search.real_experts import save_experts
from tests.search.tiny_search import calm_process, read_rows

pytestmark = pytest.mark.shared
FOLDER = Path(__file__).parents[1] / "configs" / "paper"
SINGLE_TASKS = (
    "mmlu",
    "mmlu_pro",
    "knowledge_crosswords",
    "hellaswag",
    "gsm8k",
    "nlgraph",
    "truthfulqa",
    "realtoxicityprompts",
    "abstainqa",
)
DOMAIN_PAIRS = ("legal", "medical", "science", "culture")
REWARD_MODELS = ("rm_default", "rm_concise", "rm_verbose")
# Of the sequel: those on the paper's files, and those on files of its own.
SEQUEL = ("mmlu_pro", "knowledge_crosswords", "gsm8k", "nlgraph", "abstainqa")
OWN_FILES = ("com2", "normad", "abkg", "wow", "ltp")
DOMAINS = (
    "asian_food",
    "cartoons",
    "drone_AI",
    "electric_vehicles",
    "finance",
    "legal_AI",
    "luxury_car",
    "music_instrument",
    "olympics",
    "phd_application",
    "plastic",
    "policy",
    "sandbox_games",
    "social_network",
    "south_america",
    "us_tourism",
)
Search = Callable[..., None]
SHORT = ["--model.objective.init_args.max_new_tokens", "4"]


@pytest.fixture(scope="module")
def base(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper") / "base"
    folder.mkdir()
    for file in (shared_folder / "models" / "stories260k").iterdir():
        shutil.copyfile(file, folder / file.name)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["max_position_embeddings"] = 16384
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def experts(base: Path) -> Path:
    return save_experts(base, base.parent / "experts", count=2)


@pytest.fixture(scope="module")
def reward_model(base: Path) -> Path:
    return save_decoder(base.parent / "reward", base, max_position_embeddings=4096)


@pytest.fixture(scope="module")
def judge() -> Iterator[JudgeServer]:
    with running_judge() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        yield server


@pytest.fixture
def search(base: Path, experts: Path, shared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """Run a config of the paper from the folder that its paths mean, two iterations of two particles."""
    monkeypatch.chdir(shared_folder / "data")

    def run(name: str, *flags: str) -> None:
        with calm_process():
            main(
                [
                    *("fit", "--config", str(FOLDER / f"{name}.yaml")),
                    *("--model.base", str(base), "--model.experts", str(experts), "--model.dtype", "float32"),
                    *("--model.particles", "2", "--trainer.max_steps", "2", "--trainer.accelerator", "cpu"),
                    *("--data.validation_size", "6", "--data.test_size", "4"),
                    *("--trainer.default_root_dir", str(tmp_path), *flags),
                ]
            )
        summary = json.loads((tmp_path / "version_0" / "summary.json").read_text(encoding="utf-8"))
        assert summary["iterations"] == 2
        tasks = 2 if name in DOMAIN_PAIRS else 1
        sizes = [row["examples"] for row in (*summary["validation"], *summary["test"])]
        assert sizes == [6 * tasks, 6 * tasks, 4 * tasks, 4 * tasks]

    return run


def test_there_is_a_config_for_every_objective_of_the_paper() -> None:
    found = {path.stem for path in FOLDER.glob("*.yaml")}
    assert found == {*SINGLE_TASKS, *DOMAIN_PAIRS, *REWARD_MODELS, "human_interests", "token_swarm", "single_tasks"}
    assert {path.stem for path in (FOLDER.parent / "sequel").glob("*.yaml")} == {*SEQUEL, *OWN_FILES}


@pytest.mark.parametrize("name", [name for name in SINGLE_TASKS if name != "realtoxicityprompts"])
def test_a_single_task_searches(search: Search, name: str) -> None:
    search(name, *SHORT)


@pytest.mark.parametrize("name", DOMAIN_PAIRS)
def test_a_pair_of_a_domain_searches(search: Search, name: str) -> None:
    search(name)


def test_real_toxicity_prompts_searches(search: Search, perspective_server: PerspectiveServer) -> None:
    search(
        "realtoxicityprompts",
        *("--model.objective.init_args.perspective.endpoint", perspective_server.endpoint),
        *("--model.objective.init_args.perspective.requests_per_second", "1000"),
    )


@pytest.mark.parametrize("name", REWARD_MODELS)
def test_a_reward_setting_searches(search: Search, reward_model: Path, name: str) -> None:
    search(
        name,
        *SHORT,
        *("--model.objective.init_args.model", str(reward_model)),
        *("--model.objective.init_args.dtype", "float32"),
    )


def test_the_table_of_the_single_tasks_names_every_one_of_them() -> None:
    config = yaml.safe_load((FOLDER / "single_tasks.yaml").read_text(encoding="utf-8"))
    paths = [f"configs/paper/{name}.yaml" for name in SINGLE_TASKS]
    assert sorted(config["compare"]["tasks"]) == sorted(config["sweep"]["tasks"]) == sorted(paths)
    published = read_published(str(FOLDER / "published.csv"), SINGLE_TASKS)
    assert published["model_swarm"].keys() == set(SINGLE_TASKS)
    for scores in published.values():
        assert all(score <= published["model_swarm"][task] for task, score in scores.items())


def test_single_tasks_make_one_table_with_the_published_scores(
    base: Path, experts: Path, shared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shared_folder / "data")
    tasks = [str(FOLDER / f"{name}.yaml") for name in ("mmlu", "nlgraph")]
    with calm_process():
        main(
            [
                *("compare", "--config", str(FOLDER / "single_tasks.yaml"), "--compare.tasks", json.dumps(tasks)),
                *("--compare.published", str(FOLDER / "published.csv"), "--compare.methods", "[uniform_soup]"),
                *("--model.base", str(base), "--model.experts", str(experts), "--model.dtype", "float32"),
                *("--data.validation_size", "2", "--data.test_size", "2", "--trainer.accelerator", "cpu"),
                *("--trainer.default_root_dir", str(tmp_path)),
            ]
        )
    rows = read_rows(tmp_path / "version_0" / "tasks.csv")
    ours, *published = ({name: row[name] for name in ("title", "mmlu", "nlgraph")} for row in rows)
    assert ours["title"] == "uniform soup"
    assert published == [
        {"title": "model swarm, published", "mmlu": "0.583", "nlgraph": "0.672"},
        {"title": "LoraHub, published", "mmlu": "", "nlgraph": "0.568"},
        {"title": "Pack of LLMs, published", "mmlu": "0.568", "nlgraph": ""},
    ]


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_human_interest_searches(search: Search, judge: JudgeServer, domain: str, tmp_path: Path) -> None:
    search(
        "human_interests",
        *SHORT,
        *("--data.dataset", f"model_swarms/human_{domain}.json"),
        *("--model.objective.init_args.judge", MODEL, "--model.objective.init_args.endpoint", judge.endpoint),
        *("--model.objective.init_args.cache", str(tmp_path / "cache")),
    )
    assert all(question.startswith("For the following instruction and response") for question in judge.asked)


def test_token_probabilities_of_two_architectures_search(
    search: Search, experts: Path, tiny_base_folder: Path, tmp_path: Path
) -> None:
    other = save_families(tiny_base_folder, tmp_path / "families", ("gpt2",), n_positions=4096) / "gpt2"
    mixed = json.dumps([str(experts), str(other)])
    search("token_swarm", "--model.experts", mixed, "--model.particles", "3")


@pytest.mark.parametrize("name", SEQUEL)
def test_a_task_of_the_sequel_searches(search: Search, name: str) -> None:
    search(f"../sequel/{name}", *SHORT)


@pytest.mark.parametrize("name", OWN_FILES)
def test_a_task_of_the_sequel_on_a_file_of_its_own_searches(
    search: Search, judge: JudgeServer, tmp_path: Path, name: str
) -> None:
    choices = {"choices": dict(zip("ABC", ("yes", "no", "neutral"), strict=True))} if name != "ltp" else {}
    records = [
        {"question": f"Story {number}.\n\nWhy?", **choices, "answer": "ABC"[number % 3], "id": number, "domain": "Why"}
        for number in range(12)
    ]
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps({"dataset": name, "dev": records[:6], "test": records[6:]}), encoding="utf-8")
    asked = ["--model.objective.init_args.judge", MODEL, "--model.objective.init_args.endpoint", judge.endpoint]
    asked += ["--model.objective.init_args.cache", str(tmp_path / "cache")]
    search(f"../sequel/{name}", *SHORT, "--data.dataset", str(path), *(asked if name == "ltp" else []))
