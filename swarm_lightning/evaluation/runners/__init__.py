"""The runners of this package, one file each; `evaluation/runner.py` says what a runner is.

A further one is a file of its own with two classes. The runner says how long prompts are, how many rows and candidates
share a forward pass, and in `session` takes up candidates, in a form of its choice. The session lends them, row by row,
as a language model with a set of `broken` rows. What reads and writes token ids on the resident model need only follow
`TokenModel`: `TextRows` turns texts into token ids and back, and says by a `Decoding` when replies end and how tokens
are chosen. `Evaluator(runner, objective)` asks its candidates, and `evaluator.on(runner)` asks those of a second runner
the same. The smallest example, without any model, is `tests/evaluation/table_runner.py`.

A runner of particles that a search may be asked to use has a line in `RUNNERS`, by the name that
`model.engine.backend` gives it: it is made from what a search has loaded.
"""

from collections.abc import Callable

from swarm_lightning.evaluation.runner import Loaded, Runner
from swarm_lightning.evaluation.runners.resident import ResidentRunner
from swarm_lightning.evaluation.runners.vllm import VllmRunner

RUNNERS: dict[str, Callable[[Loaded], Runner]] = {
    "torch": lambda loaded: ResidentRunner(loaded.resident, loaded.tokenizer, loaded.settings),
    "vllm": VllmRunner,
}
