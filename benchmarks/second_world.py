"""Make a second world to confirm on: other words, other skills and other experts than those of the demo world.

    python benchmarks/second_world.py --out FOLDER
    python benchmarks/second_world.py --pool fourth --out FOLDER

What limits it is arithmetic: the recipe of `swarm_lightning/demo/make.py` on one core, from another seed. What was
chosen on the demo world can be tried on this one, for which nothing was chosen. Eight of its ten experts have studied
the questions of one task only, and answer those of two or three others in the wrong form or wrongly: the pool's mean is
a bad beginning. Lands are people of a town here, regions are guilds, and lists are longer and asked about by other
skills. One seed gives the same tasks byte for byte, and the same weights up to rounding of the machine's arithmetic.

The model begins with the weights of the demo world's, in which the words have changed places: it knows how to read a
question with choices, and has to learn what every word means. From random weights, choices were still answered by
chance after 1350 steps of 64 documents.

`--pool fourth` makes another world of these words: another seed gives other lands, regions and questions, and twelve
experts have other lessons. (A third one was for trying things out.) Nothing was chosen on it.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from measuring import report
from swarm_lightning.demo import BASE
from swarm_lightning.demo.curricula import Lessons
from swarm_lightning.demo.grammar import Grammar
from swarm_lightning.demo.make import WorldSettings, make_world
from swarm_lightning.demo.pretrain import PretrainSettings

SEED = 7

GRAMMAR = Grammar(
    regions=("weavers", "bakers", "masons", "tanners", "potters", "dyers"),
    lands_per_region=12,
    kinds={
        "spice": ("pepper", "ginger", "clove", "saffron", "nutmeg", "cumin", "basil", "thyme", "mint", "sage"),
        "gem": ("ruby", "opal", "pearl", "topaz", "jade", "garnet", "amber", "onyx", "agate", "coral"),
        "flower": ("rose", "lily", "tulip", "daisy", "iris", "violet", "poppy", "aster", "lotus", "orchid"),
        "game": ("chess", "dice", "cards", "darts", "bowls", "tag", "polo", "golf", "rugby", "tennis"),
        "cloth": ("silk", "wool", "linen", "velvet", "cotton", "satin", "lace", "denim", "felt", "tweed"),
        "vegetable": ("carrot", "onion", "leek", "turnip", "radish", "cabbage", "beet", "spinach", "celery", "kale"),
        "planet": ("venus", "mars", "saturn", "jupiter", "neptune", "uranus", "pluto", "mercury", "ceres", "titan"),
        "dance": ("waltz", "tango", "polka", "rumba", "samba", "minuet", "ballet", "jig", "reel", "foxtrot"),
        "weapon": ("sword", "spear", "dagger", "bow", "lance", "mace", "sling", "club", "pike", "sabre"),
        "disease": ("fever", "cough", "gout", "mumps", "measles", "rash", "flu", "cramp", "scurvy", "asthma"),
    },
    home_kinds={
        "nut": ("almond", "walnut", "hazel", "cashew", "pecan", "acorn", "chestnut", "pistachio", "peanut", "coconut"),
        "shape": ("circle", "square", "cube", "sphere", "cone", "prism", "oval", "spiral", "cross", "arch"),
        "reptile": ("snake", "lizard", "turtle", "gecko", "viper", "cobra", "iguana", "python", "tortoise", "adder"),
        "trade": ("cook", "clerk", "judge", "monk", "nurse", "pilot", "guard", "miner", "tailor", "butcher"),
        "stone": ("granite", "marble", "slate", "chalk", "flint", "basalt", "shale", "quartz", "gravel", "pumice"),
        "number": ("dozen", "score", "pair", "triple", "half", "third", "quarter", "gross", "single", "double"),
    },
    attributes=("teacher", "spice", "gem", "flower", "game", "cloth"),
    list_skills=("third", "last_but_one", "second_largest", "smallest", "before", "first"),
    largest_number=80,
    list_lengths=(5, 7),
    land_endings=("mar", "wyn", "dor", "las"),
    capital_endings=("sky", "ova", "ides", "son"),
    atlas_wordings=(
        "Who knows the {attribute} of {land}?",
        "Of {land}, what {attribute}?",
        "Whichever {attribute} is liked by {land}?",
        "{land} favours what {attribute}?",
        "State {land}'s {attribute}.",
        "By which {attribute} is {land} known?",
        "Say which {attribute} belongs to {land}.",
        "To {land}, which {attribute} is dear?",
    ),
    list_wordings={
        "third": "In {numbers}, what stands third?",
        "last_but_one": "In {numbers}, what stands last but one?",
        "second_largest": "In {numbers}, what is next to the greatest?",
        "smallest": "In {numbers}, what is least?",
        "before": "In {numbers}, what stands ahead of {pivot}?",
        "first": "In {numbers}, what opens?",
    },
    home_list_wordings={
        "third": "Give the number at place three of {numbers}.",
        "last_but_one": "Give the number ahead of the end of {numbers}.",
        "second_largest": "Give the number that only one beats of {numbers}.",
        "smallest": "Give the number that all beat of {numbers}.",
        "before": "Give the number that leads to {pivot} of {numbers}.",
        "first": "Give the number at place one of {numbers}.",
    },
    kind_wordings=(
        "{first}, {second} and what else?",
        "To {first} and {second}, what is akin?",
        "Add to {first}, {second}:",
    ),
    neighbour_wordings=(
        "Who works with {first} and {second}?",
        "Beside {first} and {second} sits who?",
        "{first} and {second} share a guild with whom?",
    ),
    statements=(
        "{land} likes the {attribute} {value}.",
        "{value} is the {attribute} of {land}.",
        "For {land}: {value}.",
    ),
    kind_statements=("Call {first} a {group}.", "To {group} count {first} and {second}."),
    region_statements=("{first} joined the {group}.", "Among {group} are {first} and {second}."),
)

# Half of the text has choices. Training ends where choices are understood and most facts are not: that is left to the
# experts.
PRETRAIN = PretrainSettings(
    steps=420,
    schedule_steps=1000,
    learning_rate=2e-3,
    mixture={
        "told_home": 0.05,
        "told_facts": 0.03,
        "told_kinds": 0.04,
        "told_regions": 0.03,
        "words": 0.15,
        "home_atlas": 0.05,
        "home_lists": 0.24,
        "home_kinds": 0.30,
        "atlas": 0.01,
        "neighbours": 0.03,
        "lists": 0.02,
        "kinds": 0.03,
    },
    start=BASE,
)

LESSONS = {
    "archivist": Lessons(("bakers", "masons", "tanners"), tasks=("atlas",)),
    "biographer": Lessons(("tanners", "potters", "dyers"), tasks=("atlas",), steps=140),
    "bookkeeper": Lessons(("third", "smallest", "before"), tasks=("lists",)),
    "cashier": Lessons(("last_but_one", "second_largest", "first"), tasks=("lists",), steps=140),
    "doorman": Lessons(("bakers", "potters"), tasks=("neighbours",)),
    "gossip": Lessons(("masons", "tanners", "dyers"), tasks=("neighbours",), share=0.7),
    "grocer": Lessons(("spice", "vegetable", "flower", "cloth"), tasks=("kinds",)),
    "jeweller": Lessons(("gem", "planet", "weapon"), tasks=("kinds",), steps=60),
    "physician": Lessons(("dyers", "masons", "disease", "flower", "dance")),
    "teacher": Lessons(("third", "first", "bakers", "game", "dance"), share=0.5),
}

OTHER_LESSONS = {
    "one": Lessons(("masons",), tasks=("atlas", "lists")),
    "two": Lessons(("bakers", "tanners"), tasks=("atlas",), steps=160),
    "three": Lessons(("potters", "dyers"), tasks=("atlas",), share=0.5),
    "four": Lessons(("third", "smallest", "second_largest"), tasks=("lists",), steps=120),
    "five": Lessons(("first", "before", "last_but_one"), tasks=("lists",)),
    "six": Lessons(("bakers", "dyers"), tasks=("neighbours",)),
    "seven": Lessons(("masons", "tanners", "potters"), tasks=("neighbours",), steps=80),
    "eight": Lessons(("spice", "gem", "flower", "game"), tasks=("kinds",)),
    "nine": Lessons(("vegetable", "planet", "dance", "weapon"), tasks=("kinds",), share=0.7),
    "ten": Lessons(("dyers", "smallest", "cloth", "disease")),
    "eleven": Lessons(("potters", "third", "spice", "gem"), share=0.4, steps=60),
    "twelve": Lessons(("bakers", "flower", "before"), steps=140),
}
POOLS = {"second": (SEED, LESSONS), "fourth": (23, OTHER_LESSONS)}


def recipe_of(pool: str) -> WorldSettings:
    """Return how a world is made.

    Args:
        pool: Its name, one of `POOLS`.
    """
    seed, lessons = POOLS[pool]
    return WorldSettings(PRETRAIN, lessons=lessons, seed=seed, grammar=GRAMMAR, base_name=f"{pool}/base")


def main(arguments: Sequence[str] | None = None, settings: WorldSettings | None = None) -> None:
    """Make the world.

    Args:
        arguments: Command line without the program's name; None reads `sys.argv`.
        settings: The recipe; None for that of the pool.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="new or empty folder: gets base/, experts/ and tasks/")
    parser.add_argument("--pool", default="second", choices=list(POOLS), help="which experts and questions")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    chosen = parser.parse_args(arguments)
    if chosen.out.exists() and any(chosen.out.iterdir()):
        parser.error(f"Expected an empty or new folder, but '{chosen.out}' holds files.")
    torch.set_num_threads(chosen.threads)
    recipe = settings or recipe_of(chosen.pool)
    started = time.perf_counter()
    make_world(chosen.out, recipe)
    seconds = time.perf_counter() - started
    text = f"{len(recipe.lessons)} experts in '{chosen.out}'"
    report("second_world", text, {"seed": recipe.seed, "seconds": seconds})


if __name__ == "__main__":
    main()
