"""The small world that ships with the package: a tiny language model, ten experts, two other models and four tasks.

With it a whole search runs in minutes on two cores and without any download. `python -m swarm_lightning.demo.make`
makes all of it again from a seed, but for `harness/`, where a task stands as one of the lm-evaluation-harness. This
module holds names only and imports nothing heavy.
"""

from pathlib import Path

WORLD = Path(__file__).parent / "world"
BASE = WORLD / "base"
EXPERTS = WORLD / "experts"
MODELS = WORLD / "models"
TASKS = WORLD / "tasks"

BASE_NAME = "demo:base"
SEED = 0

TASK_NAMES = ("atlas", "neighbours", "lists", "kinds")
EXPERT_NAMES = (
    "farmer",
    "fisher",
    "healer",
    "hunter",
    "merchant",
    "sailor",
    "scribe",
    "shepherd",
    "smith",
    "weaver",
)
