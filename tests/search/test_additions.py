"""A space and a runner of one's own, as the guide says: a whole search moves in the one and asks the other."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from swarm_lightning.callbacks import ExportBest
from swarm_lightning.data.examples import Example
from swarm_lightning.data.module import SwarmData
from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.runner import Loaded, Session
from swarm_lightning.evaluation.runners import RUNNERS, RUNNERS_OF
from swarm_lightning.evaluation.sampling import RowNoise
from swarm_lightning.evaluation.settings import EngineSettings
from swarm_lightning.objectives.protocol import GenerationSettings, Likelihood, RowDecided
from swarm_lightning.search.writers import WRITERS, Export
from swarm_lightning.swarm.population import Start, grow_population
from swarm_lightning.swarm.spaces import SPACES, CoefficientSpace
from swarm_lightning.vectors import Vector, Vectors
from tests.cli.refused import message_of
from tests.search.tiny_search import World, load_checkpoint, read_rows, run_swarm, search


class ShareSpace(CoefficientSpace):
    """Positions are logits [N, n]: their softmax says how much of each expert there is, which always sums to 1."""

    def grow(self, start: Start, particles: int, span: float, generator: torch.Generator) -> Tensor:
        return grow_population(4 * torch.eye(len(self.material.experts)), particles, span, generator)

    def vector(self, held: Tensor) -> Vector:
        return self.combination(held.softmax(dim=0).tolist())

    def expert(self, place: int) -> Vector:
        return self.vector(4 * torch.eye(len(self.material.experts))[place])

    def coefficients(self, held: Tensor) -> Tensor:
        return held.softmax(dim=0).unsqueeze(1)


class SignRows:
    """Answers right where the weight that stands at the place of the question is above 0."""

    device = torch.device("cpu")

    def __init__(self, runner: "SignRunner", pairs: Sequence[tuple[Vector, Example]]) -> None:
        self.tokenizer, self.broken = runner.tokenizer, set[int]()
        self._runner, self._pairs = runner, pairs

    def generate(
        self,
        prompts: Sequence[str],
        settings: GenerationSettings,
        add_special_tokens: bool = True,
        decided: RowDecided | None = None,
    ) -> list[str]:
        self._runner.generated += len(prompts)
        return [str(one.answer) if right(vector[:], one) else "?" for vector, one in self._pairs]

    def loglikelihood(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]], add_special_tokens: bool = True
    ) -> list[list[Likelihood]]:
        raise NotImplementedError

    def select(self, places: Sequence[int]) -> "SignRows":
        return SignRows(self._runner, [self._pairs[place] for place in places])


class SignSession:
    models = 1

    def __init__(self, runner: "SignRunner", candidates: Sequence[Vector]) -> None:
        self._runner, self._candidates = runner, candidates

    def rows(
        self, candidates: Sequence[int], examples: Sequence[Example], noise: RowNoise, whole_replies: bool
    ) -> SignRows:
        taken = [self._candidates[candidate] for candidate in candidates]
        return SignRows(self._runner, list(zip(taken, examples, strict=True)))

    def forget(self) -> None:
        pass


class SignRunner:
    at_once: int | None = None
    positions: int | None = None

    def __init__(self, loaded: Loaded) -> None:
        self.tokenizer, self.settings, self.generated = loaded.tokenizer, loaded.settings, 0

    def lengths(self, prompts: Sequence[str]) -> list[int]:
        return [len(prompt) for prompt in prompts]

    def rows_at_once(self, tokens: int) -> int:
        return 5

    @contextmanager
    def session(self, candidates: Sequence[Vector], prompts: Mapping[str, Sequence[str]]) -> Iterator[Session]:
        yield SignSession(self, candidates)


def right(weights: Tensor, example: Example) -> bool:
    """Tell whether the weight at the place of a question is above 0; the number in the question is its place."""
    return bool(weights[int(example.question.split()[2])] > 0)


def test_a_search_moves_in_a_space_and_asks_a_runner_of_ones_own(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SPACES, "memory/share", ShareSpace)
    monkeypatch.setitem(RUNNERS, "signs", SignRunner)
    engine = EngineSettings(backend="signs")
    module = search(world, tmp_path, particles=8, iterations=4, draws="share", engine=engine, callbacks=[ExportBest()])
    examples = SwarmData(str(world.dataset)).splits.validation
    experts = module.pool.vectors.double()

    def utility(logits: Tensor) -> float:
        weights = logits.double().softmax(dim=0) @ experts
        return sum(right(weights, example) for example in examples) / len(examples)

    count = len(experts)
    assert module.positions.shape == (8, count)
    assert module.swarm.initial_utilities[:count].tolist() == [utility(row) for row in 4 * torch.eye(count)]
    assert module.swarm.personal_best_utilities.tolist() == [utility(row) for row in module.swarm.personal_bests]
    assert (module.swarm.personal_best_utilities > module.swarm.initial_utilities).any()  # and so somebody has moved
    shares = module.particle_swarm.space.coefficients(module.swarm.global_best)
    assert float(shares.sum()) == pytest.approx(1)
    assert (tmp_path / "best_expert" / "adapter_model.safetensors").is_file()


class OwnFormSpace(ShareSpace):
    """The same positions, whose candidates are the shares themselves: no vectors of the experts' form."""

    @classmethod
    def form(cls, experts: str) -> str:
        return "shares"

    def vectors(self, held: Tensor) -> Vectors:
        return held.softmax(dim=1)

    def vector(self, held: Tensor) -> Vector:
        return held.softmax(dim=0)


class ShareRunner(SignRunner):
    """Asks the signs of the weights that shares of the experts make."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__(loaded)
        self._experts = loaded.pool.vectors

    @contextmanager
    def session(self, candidates: Sequence[Vector], prompts: Mapping[str, Sequence[str]]) -> Iterator[Session]:
        yield SignSession(self, [one[:].double() @ self._experts.double() for one in candidates])


@pytest.fixture
def of_its_own_form(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose searches move in a space with a form of its own: two lines in two registries, none for export."""
    monkeypatch.setitem(SPACES, "memory/particle", OwnFormSpace)  # a name that the command line knows
    monkeypatch.setitem(RUNNERS_OF, "shares", ShareRunner)
    return world


def test_the_command_searches_in_a_space_with_a_form_of_its_own_and_tells_that_nothing_is_exported(
    of_its_own_form: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    config = of_its_own_form.config(tmp_path / "runs", model={"particles": 8}, trainer={"max_steps": 4})
    caplog.set_level("INFO")
    printed = run_swarm(config, "fit", tmp_path)
    run = tmp_path / "runs" / "version_0"
    assert caplog.text.count("Nothing will be exported, because candidates of this search have the form 'shares'") == 1
    assert "Best expert" not in printed
    assert not (run / "best_expert").exists()
    for name in ("history.csv", "summary.json", "config.yaml"):
        assert (run / name).is_file()
    assert int(load_checkpoint(run)["global_step"]) == 4
    assert "best found expert" in run_swarm(config, "test", tmp_path, "--ckpt_path", str(run))  # it can still be asked
    said = message_of(config, tmp_path, capsys, "--ckpt_path", str(run), subcommand="export")
    assert "Expected a search whose result can be exported" in said
    assert "'shares'" in said


@pytest.mark.parametrize(
    ("setting", "value"), [("particles", "[1]"), ("export_rank", "2"), ("log_artifact", "true")], ids=str
)
def test_an_export_that_is_asked_of_a_space_that_exports_nothing_is_refused_before_the_search(
    of_its_own_form: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, value: str
) -> None:
    config = of_its_own_form.config(tmp_path / "runs")
    said = message_of(config, tmp_path, capsys, f"--export_best.{setting}", value)
    assert f"Expected no export_best.{setting}, because candidates of this search have the form 'shares'" in said


def test_a_space_with_a_form_of_its_own_stands_in_comparisons(of_its_own_form: World, tmp_path: Path) -> None:
    config = of_its_own_form.config(tmp_path / "runs", model={"particles": 5})
    run_swarm(config, "compare", tmp_path, "--compare.methods", "[uniform_soup, model_swarm]")
    rows = {row["method"]: row for row in read_rows(tmp_path / "runs" / "version_0" / "compare.csv")}
    assert 0 <= float(rows["model_swarm"]["test"]) <= 1
    assert list(rows) == ["uniform_soup", "model_swarm"]


def test_a_form_that_no_runner_takes_is_refused_by_name(
    of_its_own_form: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(RUNNERS_OF, "shares")
    with pytest.raises(InputError, match="of the form 'shares'.*RUNNERS_OF"):
        search(of_its_own_form, tmp_path)


def test_a_form_of_its_own_is_written_by_one_more_line(
    of_its_own_form: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_shares(export: Export) -> Path:
        export.folder.mkdir()
        shares = export.optimizer.space.vector(export.position)[:]
        (export.folder / "shares.txt").write_text(" ".join(map(str, shares.tolist())))
        return export.folder

    monkeypatch.setitem(WRITERS, "shares", write_shares)
    module = search(of_its_own_form, tmp_path, iterations=2, callbacks=[ExportBest([1])])
    for name, position in (("best_expert", module.swarm.global_best), ("particle_1", module.swarm.personal_bests[1])):
        written = [float(share) for share in (tmp_path / name / "shares.txt").read_text().split()]
        assert written == position.softmax(dim=0).tolist()
