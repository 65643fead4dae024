"""What to ask a model and how to score its replies: one file per objective, and the protocol that all of them follow.

Nothing here imports torch or transformers before it is used, and nothing knows of particles; `evaluation/` brings both
together.
"""

from swarm_lightning.objectives.abstention import Abstention
from swarm_lightning.objectives.asking import Asks, Prompts
from swarm_lightning.objectives.custom import Custom
from swarm_lightning.objectives.exact_match import ExactMatch
from swarm_lightning.objectives.fitting import fitting_objective, refuse_misfit
from swarm_lightning.objectives.guides import ChoiceLogShare, GoldLikelihood, guide_of
from swarm_lightning.objectives.harness_task import HarnessTask
from swarm_lightning.objectives.judge_rating import JudgeRating
from swarm_lightning.objectives.mean_log_likelihood import MeanLogLikelihood
from swarm_lightning.objectives.multi_task import MultiTask
from swarm_lightning.objectives.multiple_choice import MultipleChoice
from swarm_lightning.objectives.perspective_settings import PerspectiveSettings
from swarm_lightning.objectives.prompts import PromptTemplate
from swarm_lightning.objectives.protocol import (
    CombinesScores,
    ComparesReplies,
    GenerationSettings,
    LanguageModel,
    Likelihood,
    Objective,
    Outcome,
    RepliesOnly,
)
from swarm_lightning.objectives.reward_model import RewardModel
from swarm_lightning.objectives.safety import Safety

__all__ = [
    "Abstention",
    "Asks",
    "ChoiceLogShare",
    "CombinesScores",
    "ComparesReplies",
    "Custom",
    "ExactMatch",
    "GenerationSettings",
    "GoldLikelihood",
    "HarnessTask",
    "JudgeRating",
    "LanguageModel",
    "Likelihood",
    "MeanLogLikelihood",
    "MultiTask",
    "MultipleChoice",
    "Objective",
    "Outcome",
    "PerspectiveSettings",
    "PromptTemplate",
    "Prompts",
    "RepliesOnly",
    "RewardModel",
    "Safety",
    "fitting_objective",
    "guide_of",
    "refuse_misfit",
]
