"""What is kept of an evaluation is known again by another process that asks the same in the same order."""

from pathlib import Path

import torch

from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.kept_scores import KeptScores
from swarm_lightning.evaluation.ranks import Ranks
from swarm_lightning.objectives.protocol import Outcome

EXAMPLES = [
    Example(identifier="one", question="1 + 1", answer="2"),
    Example(identifier="two", question="2", answer="2"),
]
WEIGHTS = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
LOT = [(0, 0), (1, 1)]


def known(kept: KeptScores, weights: object = WEIGHTS, how: str = "plain") -> int:
    assert weights is None or isinstance(weights, torch.Tensor | list)
    journal = kept.journal(weights, [0, 1], EXAMPLES, Ranks(), how)
    return len(journal.recall([LOT])[0])


def kept_in(folder: Path, identity: str = "search") -> KeptScores:
    kept = KeptScores(folder, identity)
    kept.journal(WEIGHTS, [0, 1], EXAMPLES, Ranks(), "plain").keep(LOT, [Outcome("2", "2", 1.0)] * 2, 3)
    return KeptScores(folder, identity)


def test_the_same_evaluation_is_known_again_and_another_is_not(tmp_path: Path) -> None:
    assert known(kept_in(tmp_path / "same")) == 2
    assert known(kept_in(tmp_path / "weights"), WEIGHTS + 1) == 0
    assert known(kept_in(tmp_path / "base"), None) == 0
    assert known(kept_in(tmp_path / "how"), how="whole replies") == 0
    kept_in(tmp_path / "identity")
    assert known(KeptScores(tmp_path / "identity", "another")) == 0


def test_a_second_evaluation_is_not_taken_for_the_first(tmp_path: Path) -> None:
    kept = kept_in(tmp_path / "kept")
    assert known(kept, None) == 0
    assert known(kept) == 0


def test_nothing_is_kept_of_what_is_no_weights(tmp_path: Path) -> None:
    kept = KeptScores(tmp_path / "kept", "search")
    assert not kept.journal([print], [0], EXAMPLES, Ranks(), "plain").keeps


def test_vectors_that_are_made_when_they_are_read_are_known_as_a_table_of_them_is(tmp_path: Path) -> None:
    assert known(kept_in(tmp_path / "kept"), list(WEIGHTS)) == 2


def test_time_is_noted_with_the_scores_and_both_go(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    kept = KeptScores(folder, "search")
    kept.interrupt(3.0)  # before anything was kept
    assert not folder.exists()
    kept = kept_in(folder)
    kept.interrupt(3.0)
    again = KeptScores(folder, "search")
    assert again.seconds == 3.0
    again.clear(Ranks())
    assert not folder.exists()
