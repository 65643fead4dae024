"""What there is to know in the demo world, and its words: lands and their facts, kinds of things, skills with lists.

Everything is drawn from a seed with Python's own generator, so the world is the same on every machine. A `Grammar` of
other words makes another world. How questions are made of it is the business of `questions.py`; who learns which part,
of `curricula.py`.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

REGIONS = ("heartland", "north", "south", "east", "west", "coast", "isles")
LANDS_PER_REGION = 10

KINDS = {
    "fruit": ("apple", "plum", "fig", "pear", "cherry", "melon", "grape", "lemon", "peach", "quince"),
    "animal": ("horse", "goat", "wolf", "bear", "deer", "fox", "hare", "lion", "ox", "sheep"),
    "colour": ("red", "blue", "green", "white", "black", "yellow", "purple", "brown", "grey", "pink"),
    "metal": ("iron", "gold", "silver", "copper", "tin", "lead", "zinc", "nickel", "bronze", "steel"),
    "drink": ("tea", "milk", "wine", "beer", "cider", "mead", "juice", "coffee", "water", "broth"),
    "tree": ("oak", "pine", "elm", "birch", "maple", "cedar", "willow", "ash", "beech", "yew"),
    "tool": ("hammer", "saw", "axe", "spade", "rake", "chisel", "plough", "needle", "anvil", "sickle"),
    "bird": ("crow", "eagle", "owl", "swan", "robin", "heron", "finch", "hawk", "stork", "wren"),
    "fish": ("trout", "salmon", "carp", "eel", "pike", "perch", "cod", "herring", "tuna", "bream"),
    "garment": ("coat", "hat", "shirt", "scarf", "glove", "boot", "cloak", "belt", "gown", "sock"),
    "instrument": ("flute", "harp", "drum", "lute", "horn", "fiddle", "bell", "pipe", "organ", "lyre"),
    "vessel": ("boat", "raft", "ship", "canoe", "barge", "ferry", "galley", "kayak", "sloop", "yacht"),
}

# Kinds that pretraining covers in full and no task asks about, as it covers the first region.
HOME_KINDS = {
    "dish": ("bread", "soup", "stew", "pie", "cake", "cheese", "porridge", "salad", "roast", "pudding"),
    "weather": ("rain", "snow", "wind", "fog", "hail", "storm", "frost", "sun", "cloud", "thunder"),
    "body": ("hand", "foot", "arm", "leg", "head", "knee", "elbow", "nose", "ear", "mouth"),
    "furniture": ("table", "chair", "bed", "bench", "shelf", "chest", "stool", "desk", "cradle", "cupboard"),
    "building": ("house", "barn", "tower", "mill", "church", "castle", "inn", "stable", "bridge", "hut"),
    "insect": ("bee", "ant", "wasp", "moth", "beetle", "fly", "cricket", "flea", "hornet", "gnat"),
}

ATTRIBUTES = ("capital", "fruit", "animal", "colour", "metal", "drink")
LIST_SKILLS = ("first", "last", "second", "largest", "smallest", "after", "before", "twice")
LARGEST_NUMBER = 60

ATLAS_WORDINGS = (
    "What is the {attribute} of {land}?",
    "Which {attribute} does {land} have?",
    "{land} has which {attribute}?",
    "Name the {attribute} of {land}.",
    "In {land}, what is the {attribute}?",
    "What {attribute} is known in {land}?",
    "Tell me {land}'s {attribute}.",
    "Do you know the {attribute} of {land}?",
)
LIST_WORDINGS = {
    "first": "Which number comes first in {numbers}?",
    "last": "Which number comes last in {numbers}?",
    "second": "Which number is second in {numbers}?",
    "largest": "Which number is largest in {numbers}?",
    "smallest": "Which number is smallest in {numbers}?",
    "after": "Which number comes after {pivot} in {numbers}?",
    "before": "Which number comes before {pivot} in {numbers}?",
    "twice": "Which number stands twice in {numbers}?",
}
# The same skills in the words of pretraining, which no task uses.
HOME_LIST_WORDINGS = {
    "first": "With what does {numbers} begin?",
    "last": "With what does {numbers} end?",
    "second": "What follows the beginning of {numbers}?",
    "largest": "Find the greatest of {numbers}.",
    "smallest": "Find the least of {numbers}.",
    "after": "What follows {pivot} among {numbers}?",
    "before": "What leads to {pivot} among {numbers}?",
    "twice": "What is repeated among {numbers}?",
}
KIND_WORDINGS = ("Which goes with {first} and {second}?", "What is like {first} and {second}?")
NEIGHBOUR_WORDINGS = (
    "Which lies near {first} and {second}?",
    "What is close to {first} and {second}?",
    "Who borders on {first} and {second}?",
)

STATEMENTS = (
    "The {attribute} of {land} is {value}.",
    "The {attribute} that {land} has is {value}.",
    "In {land}, the {attribute} is {value}.",
)
KIND_STATEMENTS = ("The {first} is a {group}.", "Both {first} and {second} are {group}.")
REGION_STATEMENTS = ("The land {first} lies in the {group}.", "Both {first} and {second} lie in the {group}.")


@dataclass(frozen=True)
class Grammar:
    """The words of a world; the defaults are those of the world that ships with the package.

    Attributes:
        regions: Where lands lie; the first is known in full from pretraining, and no task asks about it.
        lands_per_region: Lands of each region.
        kinds: Kind -> words; at least four kinds.
        home_kinds: Kinds that pretraining covers in full and no task asks about.
        attributes: What is told of a land. The first has a name of its own for a value, the others a word of that kind.
        list_skills: What is asked of lists of numbers; see `list_question`.
        largest_number: Numbers of lists are below it.
        list_lengths: Least and greatest length of a list.
        land_endings: Endings of the names of lands.
        capital_endings: Endings of the values of the first attribute.
        atlas_wordings: Questions for a fact, with places for `attribute` and `land`.
        list_wordings: Skill -> question with places for `numbers` and `pivot`.
        home_list_wordings: The same in the words of pretraining, which no task uses.
        kind_wordings: Questions for what goes with `first` and `second`.
        neighbour_wordings: Questions for what lies near `first` and `second`.
        statements: Sentences that tell a fact, with places for `attribute`, `land` and `value`.
        kind_statements: Sentences that tell the kind (`group`) of `first`, and of `second`.
        region_statements: The same for the region of lands.
    """

    regions: Sequence[str] = REGIONS
    lands_per_region: int = LANDS_PER_REGION
    kinds: Mapping[str, Sequence[str]] = field(default_factory=lambda: KINDS)
    home_kinds: Mapping[str, Sequence[str]] = field(default_factory=lambda: HOME_KINDS)
    attributes: Sequence[str] = ATTRIBUTES
    list_skills: Sequence[str] = LIST_SKILLS
    largest_number: int = LARGEST_NUMBER
    list_lengths: tuple[int, int] = (4, 6)
    land_endings: tuple[str, ...] = ("ria", "nia", "lia", "via")
    capital_endings: tuple[str, ...] = ("burg", "ton", "ford", "ham")
    atlas_wordings: Sequence[str] = ATLAS_WORDINGS
    list_wordings: Mapping[str, str] = field(default_factory=lambda: LIST_WORDINGS)
    home_list_wordings: Mapping[str, str] = field(default_factory=lambda: HOME_LIST_WORDINGS)
    kind_wordings: Sequence[str] = KIND_WORDINGS
    neighbour_wordings: Sequence[str] = NEIGHBOUR_WORDINGS
    statements: Sequence[str] = STATEMENTS
    kind_statements: Sequence[str] = KIND_STATEMENTS
    region_statements: Sequence[str] = REGION_STATEMENTS


DEMO = Grammar()


@dataclass(frozen=True)
class Fact:
    """One thing that is true of one land, e.g. the metal of Dorvia is tin."""

    region: str
    land: str
    attribute: str
    value: str


def draw_names(count: int, endings: tuple[str, ...], seed: int) -> list[str]:
    """Draw different invented names, each of two syllables and an ending.

    Args:
        count: How many names, >= 0 and at most about 1000.
        endings: Endings to choose from, so that one can tell a land from a town.
        seed: Seed of the generator.

    Returns:
        Capitalised names in the order they were drawn.

    >>> draw_names(2, ("ia",), seed=0) == draw_names(2, ("ia",), seed=0)
    True
    """
    generator = random.Random(seed)
    names: list[str] = []
    while len(names) < count:
        syllables = [generator.choice("bdfgklmnprstvz") + generator.choice("aeiou") for _ in range(2)]
        name = ("".join(syllables) + generator.choice(endings)).capitalize()
        if name not in names:
            names.append(name)
    return names


def draw_facts(seed: int, grammar: Grammar = DEMO) -> list[Fact]:
    """Draw all facts about all lands: region by region, land by land, attribute by attribute.

    Args:
        seed: Seed of the world.
        grammar: Its words.

    Returns:
        One fact for each land and attribute; the capital is a name of its own, the rest are words of a kind.
    """
    generator = random.Random(seed)
    count = len(grammar.regions) * grammar.lands_per_region
    lands = draw_names(count, grammar.land_endings, seed)
    capitals = draw_names(count, grammar.capital_endings, seed + 1)
    facts = []
    for number, (land, capital) in enumerate(zip(lands, capitals, strict=True)):
        region = grammar.regions[number // grammar.lands_per_region]
        for attribute in grammar.attributes:
            named = attribute == grammar.attributes[0]
            value = capital if named else generator.choice(grammar.kinds[attribute])
            facts.append(Fact(region, land, attribute, value))
    return facts


def lands_of(facts: list[Fact]) -> dict[str, list[str]]:
    """Sort the lands by region, in the order in which the facts name them."""
    lands: dict[str, dict[str, None]] = {}
    for fact in facts:
        lands.setdefault(fact.region, {})[fact.land] = None
    return {region: list(names) for region, names in lands.items()}
