"""What is asked before the first iteration, kept beside a sweep: what one search has asked is not asked of the next.

A position's scores depend on the base, the data, the objective and the position alone, and are filed under all four: a
trial takes what belongs to exactly its own positions, and asks the rest. So is what an objective measures of the base.
Processes that would ask the same wait for the one that asks.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swarm_lightning.evaluation import interruption
from swarm_lightning.evaluation.evaluation import Evaluation
from swarm_lightning.files import storage_errors, whole_file, write_whole
from swarm_lightning.locks import lock_if_free
from swarm_lightning.vectors import Vectors, windows

SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class SharedEvaluation(Evaluation):
    """An evaluation of which a part was asked earlier.

    Attributes:
        taken: Number of (particle, example) pairs that were not asked now.
    """

    taken: int = 0

    @property
    def evaluated(self) -> int:
        """Number of (particle, example) pairs that were asked now."""
        return super().evaluated - self.taken


class FirstScores:
    """Scores of positions, one file each, in a folder that processes may share."""

    def __init__(self, folder: Path, locks: Path) -> None:
        """Keep the folders.

        Args:
            folder: Where the files lie; made when there is something to keep.
            locks: Where the locks lie.
        """
        self.folder = folder
        self.locks = locks

    @contextmanager
    def alone(self, what: Mapping[str, Any]) -> Iterator[None]:
        """Keep all others from asking the same for the length of a `with` block; wait as long as another does.

        Args:
            what: What is asked: nested plain values.

        Raises:
            Interrupted: If the run is asked to end meanwhile.
        """
        path = self.locks / f"first_{_digest(what).hexdigest()[:16]}"
        while True:
            with ExitStack() as held:
                if held.enter_context(lock_if_free(path)):
                    yield
                    return
            interruption.check()
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def keys(self, positions: Vectors, what: Mapping[str, Any], numbered: bool = False) -> list[str]:
        """Return under what the scores of every position are filed.

        Args:
            positions: Weights [N, D] float32, or N vectors.
            what: Everything else that the scores depend on, as nested plain values.
            numbered: Whether they depend on the place of a position in the swarm too.
        """
        common = _digest(what)
        keys = []
        for place, vector in enumerate(positions):
            digest = common.copy()
            digest.update(str(place if numbered else "").encode())
            for start, stop in windows(0, len(vector)):
                digest.update(memoryview(vector[start:stop].detach().cpu().contiguous().numpy()).cast("B"))
            keys.append(digest.hexdigest())
        return keys

    def missing(self, keys: Sequence[str]) -> Tensor:
        """Return which positions have to be asked [N] bool."""
        return torch.tensor([not self._path(key).is_file() for key in keys])

    def keep(self, keys: Sequence[str], evaluation: Evaluation, asked: Tensor) -> None:
        """File the scores of the positions that were asked.

        Args:
            keys: What `keys` returned.
            evaluation: Of these positions.
            asked: Which of them were asked [N] bool.
        """
        from safetensors.torch import save_file

        self._make()
        for place in asked.nonzero().flatten().tolist():
            tensors = {
                "scores": evaluation.scores[place].clone(),
                "utility": evaluation.utilities[place].clone().reshape(1),
                "reach": evaluation.reach[place].clone(),
            }
            with whole_file(self._path(keys[place])) as partial:
                save_file(tensors, partial)

    def complete(self, keys: Sequence[str], evaluation: Evaluation, asked: Tensor) -> SharedEvaluation:
        """Return an evaluation with the scores that were filed in the places of those that were not asked.

        Args:
            keys: What `keys` returned.
            evaluation: Of these positions; what it says of those that were not asked is not read.
            asked: Which of them were asked [N] bool.
        """
        from safetensors.torch import load_file

        scores, utilities, reach = evaluation.scores.clone(), evaluation.utilities.clone(), evaluation.reach.clone()
        for place in (~asked).nonzero().flatten().tolist():
            filed = load_file(self._path(keys[place]))
            scores[place], utilities[place], reach[place] = filed["scores"], filed["utility"][0], filed["reach"]
        parts = vars(replace(evaluation, scores=scores, utilities=utilities, reach=reach))
        return SharedEvaluation(**parts, taken=int((~scores[~asked].isnan()).sum()))

    def count(self) -> int:
        """Return how many (position, example) pairs are filed: each was asked once."""
        from safetensors.torch import load_file

        return sum(int((~load_file(path)["scores"].isnan()).sum()) for path in self.folder.glob("*.safetensors"))

    def state(self, what: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what an objective has measured of the base; None if no search has let it.

        Args:
            what: Everything that it depends on, as nested plain values.
        """
        path = self._state_path(what)
        found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        return found

    def keep_state(self, what: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """File what an objective has measured of the base.

        Args:
            what: Everything that it depends on, as nested plain values.
            state: Plain values by name.
        """
        self._make()
        write_whole(self._state_path(what), json.dumps(state))

    def _make(self) -> None:
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _state_path(self, what: Mapping[str, Any]) -> Path:
        return self.folder / f"objective_{_digest(what).hexdigest()}.json"


def _digest(what: Mapping[str, Any]) -> "hashlib._Hash":
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode())
