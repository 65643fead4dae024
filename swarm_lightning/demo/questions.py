"""Questions about the demo world, their wording as prompts, and the four tasks made from them.

A question belongs to one topic, the smallest part of knowledge that an expert can have learnt: a region of the atlas,
a skill with lists, a kind of things. The prompts are the defaults of the package's objectives, word for word.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from swarm_lightning.demo.grammar import DEMO, Fact, Grammar, draw_facts, lands_of

LETTERS = ("A", "B", "C", "D")
DEV_SIZE = 200
TEST_SIZE = 1000


@dataclass(frozen=True)
class Question:
    """One question with its answer; `choices` (letter -> text) only where it is multiple choice."""

    topic: str
    question: str
    answer: str
    choices: tuple[tuple[str, str], ...] = ()

    @property
    def prompt(self) -> str:
        """What the model reads."""
        if not self.choices:
            return f"Question: {self.question}\nAnswer:"
        lines = "".join(f"\n{letter}: {text}" for letter, text in self.choices)
        return f"Question: {self.question}{lines}\nThe answer is"

    @property
    def reply(self) -> str:
        """What the model should write next, before it ends."""
        return f" {self.answer}"


def with_choices(question: Question, wrong: list[str], generator: random.Random) -> Question:
    """Turn an exact-match question into a multiple-choice one.

    Args:
        question: The question; its answer becomes the text of one choice.
        wrong: Texts to draw the three other choices from; none may be the answer.
        generator: Draws the wrong choices and their order.

    Returns:
        The question with four choices, and the letter of the right one as its answer.
    """
    texts = [question.answer, *generator.sample(wrong, len(LETTERS) - 1)]
    generator.shuffle(texts)
    letter = LETTERS[texts.index(question.answer)]
    return Question(question.topic, question.question, letter, tuple(zip(LETTERS, texts, strict=True)))


def atlas_questions(facts: list[Fact], wordings: Sequence[str], generator: random.Random) -> Iterator[Question]:
    """Give every fact in every wording once, in random order; the answer is one word."""
    pairs = [(fact, wording) for fact in facts for wording in wordings]
    generator.shuffle(pairs)
    for fact, wording in pairs:
        text = wording.format(attribute=fact.attribute, land=fact.land)
        yield Question(fact.region, text, fact.value)


def list_question(
    skill: str, wordings: Mapping[str, str], generator: random.Random, grammar: Grammar = DEMO
) -> Question:
    """Draw one question about a short list of numbers.

    Args:
        skill: `twice`, `after`, `before`, `first`, `last`, `second`, `third`, `last_but_one`, `largest`, `smallest` or
            `second_largest`.
        wordings: Skill -> text with places for `numbers` and `pivot`.
        generator: Draws the numbers.
        grammar: Says how large they are, and how many.
    """
    numbers = generator.sample(range(grammar.largest_number), generator.randint(*grammar.list_lengths))
    place = generator.randrange(len(numbers) - 1)
    pivot: int | None = None
    if skill == "twice":
        answer = numbers[place]
        numbers[generator.choice([index for index in range(len(numbers)) if index != place])] = answer
    elif skill in ("after", "before"):
        earlier, later = numbers[place], numbers[place + 1]
        pivot, answer = (earlier, later) if skill == "after" else (later, earlier)
    else:
        find: dict[str, Callable[[list[int]], int]] = {
            "first": lambda found: found[0],
            "last": lambda found: found[-1],
            "second": lambda found: found[1],
            "third": lambda found: found[2],
            "last_but_one": lambda found: found[-2],
            "second_largest": lambda found: sorted(found)[-2],
            "largest": max,
            "smallest": min,
        }
        answer = find[skill](numbers)
    text = wordings[skill].format(numbers=" ".join(map(str, numbers)), pivot=pivot)
    return Question(skill, text, str(answer))


def list_questions(
    wordings: Mapping[str, str], generator: random.Random, grammar: Grammar = DEMO
) -> Iterator[Question]:
    """Give different questions about lists without end, each skill equally often."""
    seen = set()
    while True:
        question = list_question(generator.choice(grammar.list_skills), wordings, generator, grammar)
        if question.question not in seen:
            seen.add(question.question)
            yield question


def group_questions(
    groups: Mapping[str, Sequence[str]], wordings: Sequence[str], generator: random.Random
) -> Iterator[Question]:
    """Ask what belongs to two members of a group: every ordered pair in every wording once, in random order.

    The right choice is a third member of that group; the wrong ones are of three other groups.

    Args:
        groups: At least four groups, name -> members.
        wordings: Texts with places for `first` and `second`.
        generator: Draws the order and the choices.
    """
    asked = [(name, pair, text) for name in groups for pair in permutations(groups[name], 2) for text in wordings]
    generator.shuffle(asked)
    for name, pair, wording in asked:
        answer = generator.choice([member for member in groups[name] if member not in pair])
        wrong = [generator.choice(members) for other, members in groups.items() if other != name]
        question = Question(name, wording.format(first=pair[0], second=pair[1]), answer)
        yield with_choices(question, wrong, generator)


def draw_questions(task: str, facts: list[Fact], seed: int, grammar: Grammar = DEMO) -> Iterator[Question]:
    """Give all questions of a task in an order that depends on the seed alone.

    The first `DEV_SIZE` are its dev split and the next `TEST_SIZE` its test split; only what follows may be trained on.

    Args:
        task: A name of `swarm_lightning.demo.TASK_NAMES`.
        facts: The world's facts.
        seed: Seed of the world.
        grammar: Its words.

    Raises:
        ValueError: If there is no task of that name.
    """
    generator = random.Random(f"{task} {seed}")
    home = grammar.regions[0]
    match task:
        case "atlas":
            away = [fact for fact in facts if fact.region != home]
            return atlas_questions(away, grammar.atlas_wordings, generator)
        case "neighbours":
            lands = {region: lands for region, lands in lands_of(facts).items() if region != home}
            return group_questions(lands, grammar.neighbour_wordings, generator)
        case "lists":
            return list_questions(grammar.list_wordings, generator, grammar)
        case "kinds":
            return group_questions(grammar.kinds, grammar.kind_wordings, generator)
    raise ValueError(f"Expected a task of the demo world (atlas, neighbours, lists, kinds), but got {task!r}.")


def make_task(task: str, seed: int, grammar: Grammar = DEMO) -> dict[str, str | list[dict[str, str | dict[str, str]]]]:
    """Make one task in the package's dataset format.

    Args:
        task: A name of `swarm_lightning.demo.TASK_NAMES`.
        seed: Seed of the world.
        grammar: Its words.

    Returns:
        The name, 200 dev records and 1000 test records; no question occurs twice.
    """
    questions = draw_questions(task, draw_facts(seed, grammar), seed, grammar)
    made: dict[str, str | list[dict[str, str | dict[str, str]]]] = {"dataset": task}
    for split, size in (("dev", DEV_SIZE), ("test", TEST_SIZE)):
        records: list[dict[str, str | dict[str, str]]] = []
        for number, question in zip(range(size), questions, strict=False):
            record: dict[str, str | dict[str, str]] = {"id": f"{task}-{split}-{number}", "question": question.question}
            if question.choices:
                record["choices"] = dict(question.choices)
            record["answer"] = question.answer
            records.append(record)
        made[split] = records
    return made
