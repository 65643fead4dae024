import subprocess
import sys

import pytest

from swarm_lightning.objectives import ExactMatch, MultipleChoice
from swarm_lightning.objectives.protocol import Objective


def test_the_objectives_follow_the_protocol() -> None:
    objectives: list[Objective] = [ExactMatch(), MultipleChoice()]
    assert [objective.bounds for objective in objectives] == [(0.0, 1.0), (0.0, 1.0)]


class Polite:
    """An objective as a user writes it: no base class, no annotations."""

    bounds = (0.0, 1.0)

    def __init__(self, word: str = "please") -> None:
        self.word = word

    def check(self, examples, tokenizer):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        pass

    def prompt(self, example, tokenizer):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        return example.question

    def evaluate(self, examples, model):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        return []


class Holder:
    """Takes any objective, as the search does."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ("{class_path: swarm_lightning.objectives.ExactMatch, init_args: {rule: regex, pattern: '(a)'}}", ExactMatch),
        ("{class_path: swarm_lightning.objectives.MultipleChoice, init_args: {stop: ['.']}}", MultipleChoice),
        ("{class_path: test_protocol_objective.Polite, init_args: {word: thanks}}", Polite),
    ],
)
def test_yaml_names_an_objective_by_class_path(config: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import ModuleType

    from jsonargparse import ArgumentParser

    own = ModuleType("test_protocol_objective")
    vars(own)["Polite"] = Polite
    monkeypatch.setitem(sys.modules, "test_protocol_objective", own)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Holder, "model")
    parsed = parser.parse_args(["--model.objective", config])
    assert isinstance(parser.instantiate_classes(parsed).model.objective, kind)


def test_the_objectives_are_light_to_import() -> None:
    heavy = "('torch', 'transformers', 'peft', 'datasets')"
    code = f"import sys, swarm_lightning.objectives; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
