"""swarm-lightning: adapt language models without gradients, with a particle swarm over experts.

The names below are loaded when they are first used, so importing the package costs next to nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_ROOMS = {
    "ModelSwarm": "swarm_lightning.search",
    "ParticleSwarm": "swarm_lightning.swarm",
    "StepLengthDecay": "swarm_lightning.swarm",
    "SwarmData": "swarm_lightning.data.module",
    "adapt": "swarm_lightning.cli.subcommands.adapt",
    "Custom": "swarm_lightning.objectives",
    "ExactMatch": "swarm_lightning.objectives",
    "JudgeRating": "swarm_lightning.objectives",
    "MultiTask": "swarm_lightning.objectives",
    "MultipleChoice": "swarm_lightning.objectives",
    "RewardModel": "swarm_lightning.objectives",
    "read_run": "swarm_lightning.report.notebook",
    "Safety": "swarm_lightning.objectives",
    "Abstention": "swarm_lightning.objectives",
    "Asks": "swarm_lightning.objectives",
    "ChoiceLogShare": "swarm_lightning.objectives",
    "CombinesScores": "swarm_lightning.objectives",
    "ComparesReplies": "swarm_lightning.objectives",
    "GenerationSettings": "swarm_lightning.objectives",
    "GoldLikelihood": "swarm_lightning.objectives",
    "HarnessTask": "swarm_lightning.objectives",
    "LanguageModel": "swarm_lightning.objectives",
    "Likelihood": "swarm_lightning.objectives",
    "MeanLogLikelihood": "swarm_lightning.objectives",
    "Objective": "swarm_lightning.objectives",
    "Outcome": "swarm_lightning.objectives",
    "PerspectiveSettings": "swarm_lightning.objectives",
    "PromptTemplate": "swarm_lightning.objectives",
    "Prompts": "swarm_lightning.objectives",
    "RepliesOnly": "swarm_lightning.objectives",
    "fitting_objective": "swarm_lightning.objectives",
    "guide_of": "swarm_lightning.objectives",
    "refuse_misfit": "swarm_lightning.objectives",
    "ContinueMetrics": "swarm_lightning.callbacks",
    "Forecast": "swarm_lightning.callbacks",
    "ContinuedCSVLogger": "swarm_lightning.callbacks",
    "ExportBest": "swarm_lightning.callbacks",
    "FirstLook": "swarm_lightning.callbacks",
    "History": "swarm_lightning.callbacks",
    "OrderlyEnd": "swarm_lightning.callbacks",
    "PredictionWriter": "swarm_lightning.callbacks",
    "Replies": "swarm_lightning.callbacks",
    "RestartStagnant": "swarm_lightning.callbacks",
    "RunRecord": "swarm_lightning.callbacks",
    "StopOnPlateau": "swarm_lightning.callbacks",
    "Summary": "swarm_lightning.callbacks",
    "SwarmCheckpoint": "swarm_lightning.callbacks",
    "SwarmProgress": "swarm_lightning.callbacks",
    "Verdict": "swarm_lightning.callbacks",
    "default_callbacks": "swarm_lightning.callbacks",
    "CmaEs": "swarm_lightning.swarm",
    "EvolutionStrategy": "swarm_lightning.swarm",
    "HeterogeneousSwarm": "swarm_lightning.swarm",
    "SPACES": "swarm_lightning.swarm.spaces",
    "CoefficientSpace": "swarm_lightning.swarm.spaces",
    "DenseSpace": "swarm_lightning.swarm.spaces",
    "DividedSpace": "swarm_lightning.swarm.spaces",
    "DrawnDividedSpace": "swarm_lightning.swarm.spaces",
    "DrawnMixtureSpace": "swarm_lightning.swarm.spaces",
    "GraphSpace": "swarm_lightning.swarm.spaces",
    "MixtureSpace": "swarm_lightning.swarm.spaces",
    "RowSpace": "swarm_lightning.swarm.spaces",
    "Space": "swarm_lightning.swarm.spaces",
    "TensorSpace": "swarm_lightning.swarm.spaces",
    "run_search": "swarm_lightning.cli.search",
    "Found": "swarm_lightning.cli.found",
    "load": "swarm_lightning.evaluation.loading",
}

__all__ = ["__version__", "search", *_ROOMS]


def __getattr__(name: str) -> Any:
    if name == "search":  # the room of that name can be called: `swarm_lightning.search(...)`
        return import_module(_ROOMS["ModelSwarm"])
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
