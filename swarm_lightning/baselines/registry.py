"""All methods by name, in the order of the table.

All work on LoRA adapters, and on full checkpoints held in memory all but cBTM, Pack of LLMs and the two means of
products, which are soups there; what a method takes for the origin of their weights is in its file.
"""

from collections.abc import Callable, Collection, Mapping

from swarm_lightning.baselines.cbtm import CBTM
from swarm_lightning.baselines.data_merge import DataMerge
from swarm_lightning.baselines.evogm import EvoGM
from swarm_lightning.baselines.evolmerge import EvolMerge
from swarm_lightning.baselines.evolution_strategy import EvolutionStrategyRow
from swarm_lightning.baselines.fine_tuning import FineTuning
from swarm_lightning.baselines.genome import Genome
from swarm_lightning.baselines.learned_coefficients import LearnedCoefficients
from swarm_lightning.baselines.lorahub import LoraHub
from swarm_lightning.baselines.method import Method
from swarm_lightning.baselines.model_stock import ModelStock
from swarm_lightning.baselines.pack_of_llms import PackOfLLMs
from swarm_lightning.baselines.prediction_merge import PredictionMerge
from swarm_lightning.baselines.product_mean import ProductMean
from swarm_lightning.baselines.product_soup import ProductSoup
from swarm_lightning.baselines.pso_merging import PSOMerging
from swarm_lightning.baselines.random_search import RandomSearch
from swarm_lightning.baselines.regression_mean import RegressionMean
from swarm_lightning.baselines.settings import CompareSettings
from swarm_lightning.baselines.single_models import BaseModel, BestExpert
from swarm_lightning.baselines.slerp import Slerp
from swarm_lightning.baselines.soups import GreedySoup, UniformSoup
from swarm_lightning.baselines.swarm_row import SwarmRow
from swarm_lightning.baselines.task_arithmetic import TaskArithmetic
from swarm_lightning.baselines.ties import dare_ties, ties
from swarm_lightning.errors import InputError
from swarm_lightning.names import SWARM

METHODS: Mapping[str, Callable[[CompareSettings], Method]] = {
    "base_model": lambda settings: BaseModel(),
    "best_expert": lambda settings: BestExpert(),
    "data_merge": lambda settings: DataMerge(settings.data_merge),
    "prediction_merge": lambda settings: PredictionMerge(),
    "uniform_soup": lambda settings: UniformSoup(),
    "product_mean": lambda settings: ProductMean(),
    "slerp": lambda settings: Slerp(),
    "task_arithmetic": lambda settings: TaskArithmetic(),
    "ties": lambda settings: ties(settings.density),
    "dare_ties": lambda settings: dare_ties(settings.density),
    "model_stock": lambda settings: ModelStock(),
    "greedy_soup": lambda settings: GreedySoup(),
    "product_soup": lambda settings: ProductSoup(),
    "regression_mean": lambda settings: RegressionMean(),
    "lorahub": lambda settings: LoraHub(),
    "cbtm": lambda settings: CBTM(settings.domain_texts),
    "pack_of_llms": lambda settings: PackOfLLMs(),
    "evolmerge": lambda settings: EvolMerge(),
    "evolution_strategy": lambda settings: EvolutionStrategyRow(),
    "random_search": lambda settings: RandomSearch(),
    "genome": lambda settings: Genome(),
    "genome_plus": lambda settings: Genome(plus=True),
    "pso_merging": lambda settings: PSOMerging(),
    "evogm": lambda settings: EvoGM(),
    "learned_coefficients": lambda settings: LearnedCoefficients(),
    "fine_tuning_zero": lambda settings: FineTuning("zero"),
    "fine_tuning_expert": lambda settings: FineTuning("expert"),
    "fine_tuning_mean": lambda settings: FineTuning("mean"),
    SWARM: lambda settings: SwarmRow(),
}

# What sets a method apart from the others, which ask models forwards only and make one model of the experts.
TRAINED, SEVERAL = "†", "‡"
SIGNS = {
    **dict.fromkeys(
        ("data_merge", "learned_coefficients", "fine_tuning_zero", "fine_tuning_expert", "fine_tuning_mean"), TRAINED
    ),
    **dict.fromkeys(("prediction_merge", "cbtm", "pack_of_llms"), SEVERAL),
}
LEGEND = {
    TRAINED: "trained with gradients",
    SEVERAL: "no single model: every answer costs as many forward passes as there are experts",
}


def make_methods(names: Collection[str], settings: CompareSettings) -> dict[str, Method]:
    """Return methods by name, in the order of the table; names that are not known are passed over.

    Args:
        names: Of the methods.
        settings: Of the comparison.
    """
    return {name: make(settings) for name, make in METHODS.items() if name in names}


def chosen_methods(settings: CompareSettings) -> dict[str, Method]:
    """Return the methods of a comparison by name, in the order of the table.

    Args:
        settings: Of the comparison.

    Raises:
        InputError: If a name is unknown, or nothing says how much a search may ask.
    """
    names = list(METHODS) if settings.methods is None else settings.methods
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise InputError(
            f"Expected compare.methods to name some of {', '.join(METHODS)}, but got {unknown or names}. "
            "Leave it out for all of them."
        )
    methods = make_methods(names, settings)
    searches = [name for name, method in methods.items() if method.kind == "search" and name != SWARM]
    if searches and SWARM not in methods and settings.evaluations is None:
        raise InputError(
            f"Expected a number of evaluations for {', '.join(searches)}, but compare.evaluations is null and "
            f"{SWARM} is not among compare.methods. Set it, or add the swarm."
        )
    return methods
