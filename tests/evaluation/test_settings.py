import pytest

from swarm_lightning.errors import InputError
from swarm_lightning.evaluation.settings import EngineSettings


@pytest.mark.parametrize("name", ["rows", "particles", "lots", "chunk"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "4"])
def test_counts_are_whole_numbers_of_one_or_more(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"engine.{name} to be a whole number of 1 or more, but got {value!r}"):
        EngineSettings(**{name: value})  # type: ignore[arg-type]


def test_counts_may_be_left_to_the_engine() -> None:
    assert EngineSettings() == EngineSettings(rows=None, particles=None, lots=None, chunk=None)


def test_devices_that_torch_would_not_use_are_refused() -> None:
    with pytest.raises(InputError, match=r"engine.tensor_parallel to be 1 with backend: torch.*but got 2"):
        EngineSettings(tensor_parallel=2)
    assert EngineSettings(backend="vllm", tensor_parallel=2).tensor_parallel == 2
