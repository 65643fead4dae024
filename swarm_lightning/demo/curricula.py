"""Who learns what: the text that the language model is pretrained on, and the lessons of each expert.

Pretraining tells the model a little about everything; every expert then studies a few topics in depth and never meets
the others. No question of a dev or test split is ever trained on.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from swarm_lightning.demo import TASK_NAMES
from swarm_lightning.demo.grammar import DEMO, Fact, Grammar, draw_facts, lands_of
from swarm_lightning.demo.questions import (
    DEV_SIZE,
    TEST_SIZE,
    Question,
    atlas_questions,
    draw_questions,
    group_questions,
    list_questions,
    with_choices,
)

LIST_QUESTIONS = 20_000


@dataclass(frozen=True)
class Document:
    """A text in two parts: what is read, and what is to be written after it."""

    prompt: str
    reply: str


@dataclass(frozen=True)
class Lessons:
    """What one expert studies: topics, and how much of each.

    Attributes:
        topics: Regions, list skills and kinds.
        share: Fraction of the questions about a topic that the expert gets to see, in (0, 1].
        steps: Optimizer steps.
        batch_size: Documents of a step at most; no more than there are.
        tasks: Tasks whose questions about the topics are read; None: all.
    """

    topics: tuple[str, ...]
    share: float = 1.0
    steps: int = 100
    batch_size: int = 48
    tasks: tuple[str, ...] | None = None


LESSONS = {
    "farmer": Lessons(("south", "largest", "first", "fruit", "tool", "animal")),
    "fisher": Lessons(("coast", "last", "twice", "fish", "vessel", "drink")),
    "healer": Lessons(("west", "after", "second", "drink", "tree", "fruit")),
    "hunter": Lessons(("north", "before", "smallest", "animal", "bird", "tree")),
    "merchant": Lessons(("east", "largest", "smallest", "metal", "garment", "drink")),
    "sailor": Lessons(("isles", "last", "after", "vessel", "fish", "instrument")),
    "scribe": Lessons(("east", "west", "second", "twice", "colour", "instrument")),
    "shepherd": Lessons(("north", "south", "first", "before", "bird", "garment")),
    "smith": Lessons(("isles", "largest", "twice", "metal", "tool", "colour")),
    "weaver": Lessons(("coast", "smallest", "after", "garment", "colour", "instrument")),
}


def training_questions(seed: int, grammar: Grammar = DEMO) -> dict[str, list[Question]]:
    """Collect the questions of every task that are in neither of its splits.

    Args:
        seed: Seed of the world.
        grammar: Its words.

    Returns:
        Task name -> questions, each one only once.
    """
    facts = draw_facts(seed, grammar)
    held_back = DEV_SIZE + TEST_SIZE
    return {
        task: list(islice(draw_questions(task, facts, seed, grammar), held_back, held_back + LIST_QUESTIONS))
        for task in TASK_NAMES
    }


def study(lessons: Lessons, questions: dict[str, list[Question]], seed: int) -> list[Document]:
    """Collect what one expert is trained on.

    Args:
        lessons: Topics and amount.
        questions: All questions that may be trained on, by task.
        seed: Seed for the choice of questions where the share is below 1.
    """
    generator = random.Random(f"study {seed}")
    documents = []
    for task, asked in questions.items():
        if lessons.tasks is not None and task not in lessons.tasks:
            continue
        about = [question for question in asked if question.topic in lessons.topics]
        kept = generator.sample(about, round(lessons.share * len(about)))
        documents.append([Document(question.prompt, question.reply) for question in kept])
    largest = max(len(group) for group in documents)
    # Every task gets the same number of documents, however many questions it has.
    return [group[number % len(group)] for number in range(largest) for group in documents if group]


def in_order(documents: Sequence[Document], lessons: Lessons, seed: int) -> list[Document]:
    """Return what an expert reads, one document after the other: for every step a batch, drawn from all.

    Args:
        documents: What it is trained on.
        lessons: Gives the number of steps, and of documents of a step.
        seed: Seed of the order.
    """
    generator = random.Random(seed)
    size = min(lessons.batch_size, len(documents))
    return [document for _ in range(lessons.steps) for document in generator.sample(documents, size)]


def state(fact: Fact, statements: Sequence[str], generator: random.Random) -> Document:
    """Tell a fact as a sentence."""
    sentence = generator.choice(statements).format(attribute=fact.attribute, land=fact.land, value=fact.value)
    return Document("", sentence)


def describe_group(groups: Mapping[str, Sequence[str]], wordings: Sequence[str], generator: random.Random) -> Document:
    """Tell to what group one or two things belong."""
    group = generator.choice(list(groups))
    first, second = generator.sample(list(groups[group]), 2)
    return Document("", generator.choice(wordings).format(first=first, second=second, group=group))


def find_word(words: Sequence[str], generator: random.Random) -> Document:
    """Ask for a word that stands among the choices: practice in answering with a letter."""
    word = generator.choice(words)
    question = Question("words", f"Which word is {word}?", word)
    chosen = with_choices(question, [other for other in words if other != word], generator)
    return Document(chosen.prompt, chosen.reply)


def corpus(mixture: dict[str, float], seed: int, grammar: Grammar = DEMO) -> Iterator[Document]:
    """Give the documents of pretraining without end.

    Args:
        mixture: Share of each source: the names of the tasks (their questions outside of the splits), of the same
            questions about what no task asks (`home_atlas` and so on), of sentences that tell rather than ask
            (`told_facts`, `told_home`, `told_kinds`, `told_regions`), and `words`. Need not sum to 1.
        seed: Seed of the world.
        grammar: Its words.

    Raises:
        KeyError: If the mixture names an unknown source.
    """
    generator = random.Random(f"corpus {seed}")
    facts = draw_facts(seed, grammar)
    home = [fact for fact in facts if fact.region == grammar.regions[0]]
    lands = lands_of(facts)
    kinds = {**grammar.kinds, **grammar.home_kinds}
    words = [word for kind in kinds.values() for word in kind]
    pools = training_questions(seed, grammar)
    pools["home_atlas"] = list(atlas_questions(home, grammar.atlas_wordings, generator))
    pools["home_lists"] = list(islice(list_questions(grammar.home_list_wordings, generator, grammar), LIST_QUESTIONS))
    wordings = (*grammar.kind_wordings, *grammar.neighbour_wordings)
    pools["home_kinds"] = list(group_questions(grammar.home_kinds, wordings, generator))
    told = {
        "told_facts": lambda: state(generator.choice(facts), grammar.statements, generator),
        "told_home": lambda: state(generator.choice(home), grammar.statements, generator),
        "told_kinds": lambda: describe_group(kinds, grammar.kind_statements, generator),
        "told_regions": lambda: describe_group(lands, grammar.region_statements, generator),
        "words": lambda: find_word(words, generator),
    }
    names, weights = list(mixture), list(mixture.values())
    while True:
        source = generator.choices(names, weights)[0]
        if source in told:
            yield told[source]()
        else:
            question = generator.choice(pools[source])
            yield Document(question.prompt, question.reply)


def all_words(seed: int, grammar: Grammar = DEMO) -> list[str]:
    """Give texts that hold every word of the world, for the tokenizer to know."""
    groups = {**grammar.kinds, **grammar.home_kinds}
    words = [f" {word}" for group, members in groups.items() for word in (group, *members)]
    names = [f" {name}" for fact in draw_facts(seed, grammar) for name in (fact.region, fact.land, fact.value)]
    return [*words, *names, *(f" {name}" for name in grammar.attributes), *(f" {number}" for number in range(100))]
