"""What there is to know in the demo world: lands and their facts, kinds of things, and skills with lists.

Everything is drawn from a seed with Python's own generator, so the world is the same on every machine. How the
knowledge is asked for is the business of `questions.py`; who learns which part of it, of `curricula.py`.
"""

import random
from dataclasses import dataclass

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


def draw_facts(seed: int) -> list[Fact]:
    """Draw all facts about all lands: region by region, land by land, attribute by attribute.

    Args:
        seed: Seed of the world.

    Returns:
        One fact for each land and attribute; the capital is a name of its own, the rest are words of a kind.
    """
    generator = random.Random(seed)
    count = len(REGIONS) * LANDS_PER_REGION
    lands = draw_names(count, ("ria", "nia", "lia", "via"), seed)
    capitals = draw_names(count, ("burg", "ton", "ford", "ham"), seed + 1)
    facts = []
    for number, (land, capital) in enumerate(zip(lands, capitals, strict=True)):
        region = REGIONS[number // LANDS_PER_REGION]
        for attribute in ATTRIBUTES:
            value = capital if attribute == "capital" else generator.choice(KINDS[attribute])
            facts.append(Fact(region, land, attribute, value))
    return facts


def lands_of(facts: list[Fact]) -> dict[str, list[str]]:
    """Sort the lands by region, in the order in which the facts name them."""
    lands: dict[str, dict[str, None]] = {}
    for fact in facts:
        lands.setdefault(fact.region, {})[fact.land] = None
    return {region: list(names) for region, names in lands.items()}
