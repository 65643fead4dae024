"""The model card of what was found: what it came from, how it was searched, what it scores, and how to load it.

A Hugging Face card: YAML front matter, then Markdown. Everything that comes from the user (names, paths, settings) is
escaped, so that it can only be read as text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm_lightning.experts.export.provenance import Provenance
from swarm_lightning.experts.naming import name_of
from swarm_lightning.experts.sources import HUB_ID
from swarm_lightning.paths import DEMO_PREFIX
from swarm_lightning.shown import in_markdown

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


@dataclass(frozen=True)
class Form:
    """What a card says of what was exported, by what it is.

    Attributes:
        what: Before the name of the base.
        after: What it is called beside the best initial expert.
        tags: For the hub.
        library: That loads it.
    """

    what: str
    after: str
    tags: tuple[str, ...]
    library: str


FORMS = {
    "adapter": Form("A LoRA adapter for", "this adapter", ("lora", "peft"), "peft"),
    "checkpoint": Form("A full checkpoint of the architecture of", "this model", ("merge",), "transformers"),
    "mixture": Form("A mixture of the models below, asked as", "this mixture", ("mixture",), "swarm-lightning"),
    "system": Form("Models that answer together, on", "this system", ("system",), "swarm-lightning"),
}
METRICS = {"ExactMatch": "exact_match", "MultipleChoice": "accuracy"}  # in the hub's words
MIXED = {
    "probabilities": "The probability of the next token is the mean of the experts', weighted by these numbers, of "
    "which those below 0 count as 0. Of different vocabularies, what is weighed is the text of tokens.",
    "log_probabilities": "The log-probability of the next token is the sum of the experts', each times its number, "
    "normalised. Of different vocabularies, what is weighed is the text of tokens.",
}


@dataclass(frozen=True)
class Utilities:
    """The utility before and after the search on one split: the best initial expert's, and the exported adapter's.

    Of a search with several tasks, `tasks` holds both on each of them, by the name of the task. `gain` says how far the
    second is above the first, with its interval, in words.
    """

    best_initial: float | None
    found: float | None
    examples: int | None = None
    tasks: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    gain: str | None = None


@dataclass(frozen=True)
class Share:
    """How much of an expert there is: the mean of its coefficients, the lowest, and the highest."""

    mean: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Cut:
    """What was cut off a sum of products to get a smaller rank: of every layer, the part of its norm that is missing.

    `utility` is that of the adapter after it on the validation split, where it was asked.
    """

    rank: int
    errors: Mapping[str, float]
    utility: float | None = None


@dataclass(frozen=True)
class CardFacts:
    """What a model card tells.

    Attributes:
        name: The adapter's name: its heading, and its folder in the code that loads it.
        base: Path or hub id of the base model, as it was given.
        experts: Names of the initial experts.
        coefficients: What it takes of each expert, where the search was one for coefficients; empty otherwise.
        method: The search, where it is none of particles; empty otherwise.
        fitted: Whether the A matrices of the experts were fitted anew.
        granularity: What of every expert has a coefficient of its own that scales what it adds to the base; None where
            the coefficients scale A and B matrices.
        differences_from: What the experts' differences are taken from that the coefficients multiply: "the base";
            empty where they multiply the experts' own matrices.
        notes: How the experts' files were changed to get one form; empty where they had one.
        task: Name or path of the dataset whose validation split guided the search.
        best_initial_expert: Name of the initial expert with the highest utility on the validation split.
        exported: What this is: "the best found expert", "the personal best of particle 3".
        validation: Utilities on the split that guided the search.
        test: Utilities on the split that was held back, where known.
        objective: Settings of the objective, by name.
        guide: What the search followed in its place, how well that ranks, and its utilities, by name; may be empty.
        swarm: Settings of the search, by name.
        seed: Seed of the run.
        iterations: Iterations that were run.
        dtype: What the base was loaded in; another one gives other replies.
        whole: Whether this is a full checkpoint and no adapter.
        cut: What was cut off to get a smaller rank; None where nothing was to be.
        mixture: What of the experts is mixed, where this is a mixture of models; None otherwise.
        system: What each node of a system of models reads, a line each in the order in which they answer; else empty.
        provenance: Where base and experts come from, and their licenses, as far as they say so.
    """

    name: str
    base: str
    experts: Sequence[str]
    task: str
    best_initial_expert: str | None = None
    exported: str = "the best found expert"
    validation: Utilities | None = None
    test: Utilities | None = None
    objective: Mapping[str, Any] = field(default_factory=dict)
    guide: Mapping[str, Any] = field(default_factory=dict)
    swarm: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    iterations: int | None = None
    dtype: str = "auto"
    whole: bool = False
    coefficients: Sequence[Share] = ()
    method: str = ""
    fitted: bool = False
    granularity: str | None = None
    differences_from: str = ""
    notes: Sequence[str] = ()
    cut: Cut | None = None
    mixture: str | None = None
    system: Sequence[str] = ()
    provenance: Provenance = Provenance()

    @property
    def form(self) -> Form:
        """What it is."""
        name = "system" if self.system else "mixture" if self.mixture else "checkpoint" if self.whole else "adapter"
        return FORMS[name]


def render_card(facts: CardFacts) -> str:
    """Return the model card as Markdown with YAML front matter."""
    parts = [
        [_front_matter(facts)],
        _introduction(facts),
        _scores(facts),
        _cut(facts.cut),
        _settings(facts),
        _licenses(facts.provenance, public_name(facts.base)),
        _loading(facts),
    ]
    return "\n".join(line for part in parts for line in part)


def public_name(source: str) -> str:
    """Return what a card may say of a base or dataset: a hub id as it is, of a path only the last name.

    >>> public_name("/home/someone/models/tiny")
    'tiny'
    >>> public_name("owner/model")
    'owner/model'
    """
    if source.startswith(DEMO_PREFIX):
        return source.removeprefix(DEMO_PREFIX)
    path = Path(source).expanduser()
    if HUB_ID.fullmatch(source) and not path.exists():
        return source
    return name_of(path)


def _front_matter(facts: CardFacts) -> str:
    from huggingface_hub import ModelCardData

    results = _eval_results(facts)
    data = ModelCardData(
        base_model=facts.provenance.base or public_name(facts.base),
        license=facts.provenance.license,
        model_name=facts.name if results else None,
        eval_results=results or None,
        library_name=facts.form.library,
        pipeline_tag="text-generation",
        tags=[*facts.form.tags, "swarm-lightning"],
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _eval_results(facts: CardFacts) -> "list[EvalResult]":
    """Return what the hub shows as results: the score on the split that was held back, and that on each task."""
    from huggingface_hub import EvalResult

    if facts.test is None or facts.test.found is None:
        return []
    objective = str(facts.objective.get("class", "utility"))
    scores = {public_name(facts.task): facts.test.found}
    scores |= {task: after for task, (_, after) in facts.test.tasks.items()}
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=name,
            dataset_name=name,
            dataset_split="test",
            metric_type=METRICS.get(objective, "utility"),
            metric_name=objective,
            metric_value=round(score, 4),
        )
        for name, score in scores.items()
    ]


def _licenses(provenance: Provenance, base: str) -> list[str]:
    """Say what base and experts state; what a merge of them may be used for is not ours to say."""
    if provenance.base_license is None and not provenance.licenses:
        return []
    stated = {f"{base}, the base": provenance.base_license or "not stated", **provenance.licenses}
    rows = (f"| {in_markdown(name)} | {in_markdown(license_)} |" for name, license_ in stated.items())
    opening = "What the base states, and those experts that state one:"
    return ["## Licenses", "", opening, "", *("| model | license |", "| --- | --- |"), *rows, ""]


def _experts(facts: CardFacts) -> list[str]:
    if not facts.coefficients:
        return [f"- {in_markdown(name)}" for name in facts.experts]
    name = "number" if facts.mixture else "coefficient"
    made = "Each of the A and B matrices is the sum of the experts', each times its coefficient."
    if facts.granularity is not None:
        made = "What it adds to the base is the sum of the experts' products B A, each times its coefficient."
    if facts.fitted:
        made += " Their A matrices were fitted anew, so that each acts on inputs like those of the examples that it "
        made += "answers best: these are not the products that the experts were trained to, and one with 0 has no part."
    if facts.differences_from:
        origin = in_markdown(facts.differences_from)
        made = f"The weights are those of {origin}, plus the experts' differences from it, each times its coefficient."
    if facts.mixture is not None:
        made = MIXED[facts.mixture]
    if facts.granularity not in (None, "expert"):
        made += f" There is one for each {facts.granularity.replace('_', ' ')} of an expert: these are their means."
    return [
        *(
            f"- {in_markdown(expert)}, {name} {_share(share)}"
            for expert, share in zip(facts.experts, facts.coefficients, strict=True)
        ),
        "",
        made,
    ]


def _share(share: Share) -> str:
    if share.lowest == share.highest:
        return f"{share.mean:.4f}"
    return f"{share.mean:.4f} (from {share.lowest:.4f} to {share.highest:.4f})"


def _introduction(facts: CardFacts) -> list[str]:
    iterations = f" in {facts.iterations} iterations" if facts.iterations else ""
    method = facts.method or "Model Swarms ([arXiv:2410.11163](https://arxiv.org/abs/2410.11163))"
    if facts.system:
        method = "Heterogeneous Swarms ([arXiv:2502.04510](https://arxiv.org/abs/2502.04510))"
    return [
        f"# {in_markdown(facts.name)}",
        "",
        f"{facts.form.what} {in_markdown(public_name(facts.base))}: {in_markdown(facts.exported)}, "
        f"searched{iterations} by `swarm-lightning` from the experts below with {method}, without gradients.",
        "",
        f"- Task: {in_markdown(public_name(facts.task))}",
        f"- Seed: {'not recorded' if facts.seed is None else facts.seed}",
        "",
        f"## Experts ({len(facts.experts)})",
        "",
        *_experts(facts),
        "",
        *_who_answers(facts.system),
        *(line for note in facts.notes for line in (in_markdown(note), "")),
    ]


def _who_answers(system: Sequence[str]) -> list[str]:
    if not system:
        return []
    lines = (f"{place}. {in_markdown(line)}" for place, line in enumerate(system, start=1))
    return [
        "## Who answers whom",
        "",
        "In this order, each node with the expert that its model began as:",
        "",
        *lines,
        "",
    ]


def _rows(split: str, utilities: Utilities) -> list[str]:
    count = "" if utilities.examples is None else utilities.examples
    return [
        f"| {split} | {count} | {_number(utilities.best_initial)} | {_number(utilities.found)} |",
        *(
            f"| {split}, task {in_markdown(task)} | | {_number(before)} | {_number(after)} |"
            for task, (before, after) in utilities.tasks.items()
        ),
    ]


def _scores(facts: CardFacts) -> list[str]:
    splits = [("validation (guided the search)", facts.validation), ("test (held back)", facts.test)]
    known = [(split, utilities) for split, utilities in splits if utilities is not None]
    if not known:
        return []
    best = "" if facts.best_initial_expert is None else f" ({in_markdown(facts.best_initial_expert)})"
    cut = facts.cut is not None and any(facts.cut.errors.values())
    after = "the sum before it was cut" if cut else facts.form.after
    return [
        "## Utility",
        "",
        f"| split | examples | before: best initial expert{best} | after: {after} |",
        "| --- | ---: | ---: | ---: |",
        *(line for split, utilities in known for line in _rows(split, utilities)),
        "",
        *(line for split, utilities in known for line in _gain(split, utilities)),
    ]


def _gain(split: str, utilities: Utilities) -> list[str]:
    if utilities.gain is None:
        return []
    return [
        f"Gain on {split}: {utilities.gain} (in brackets: 95% interval by the paired bootstrap over its examples).",
        "",
    ]


def _cut(cut: Cut | None) -> list[str]:
    if cut is None:
        return []
    if not any(cut.errors.values()):
        return ["## Rank", "", f"Rank {cut.rank} was asked for, and no layer of the sum has more: nothing was cut.", ""]
    asked = "" if cut.utility is None else f" On validation the adapter of this rank has {cut.utility:.4f}."
    rows = (f"| {in_markdown(layer)} | {error:.4f} |" for layer, error in cut.errors.items())
    return [
        "## Rank",
        "",
        f"The sum of the experts' products was cut to rank {cut.rank} by truncated SVD; the utilities above are "
        f"those of the sum itself.{asked} What is missing, as Frobenius norm of the difference over that of the sum:",
        "",
        *("| layer | relative error |", "| --- | ---: |"),
        *rows,
        "",
    ]


def _settings(facts: CardFacts) -> list[str]:
    lines: list[str] = []
    for title, settings in (("Objective", facts.objective), ("Guide", facts.guide), ("Search", facts.swarm)):
        if settings:
            rows = (f"| {in_markdown(name)} | {in_markdown(value)} |" for name, value in settings.items())
            lines += [f"## {title}", "", "| setting | value |", "| --- | --- |", *rows, ""]
    return lines


def _loading(facts: CardFacts) -> list[str]:
    # Python literals made by ascii() hold no line break and no backtick fence of their own.
    name = ascii(facts.name).replace("`", r"\x60")
    base = ascii(facts.provenance.base or facts.base).replace("`", r"\x60")
    demo = facts.base.startswith(DEMO_PREFIX)
    opening = ["## How to load it", "", "From the folder that holds this one:", "", "```python"]
    if facts.mixture is not None:
        return [
            *opening,
            "import swarm_lightning",
            "",
            f"mixture = swarm_lightning.load({name})",
            'mixture.generate(["A prompt"], max_new_tokens=20)',
            'mixture.loglikelihood(["A prompt"], [[" one text", " another"]])',
            "```",
            "",
            "`swarm.json` says where the experts lie; their weights are not in this folder.",
            "",
        ]
    if facts.system:
        return [
            *opening,
            "import swarm_lightning",
            "",
            f"system = swarm_lightning.load({name})",
            'system.generate(["A prompt"], max_new_tokens=20)',
            "```",
            "",
            "`graph.json` says who answers whom and what nodes are told, `graph.svg` shows it, `models` holds weights.",
            "",
        ]
    if facts.whole:
        return [
            *opening,
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f"tokenizer = AutoTokenizer.from_pretrained({name})",
            f'model = AutoModelForCausalLM.from_pretrained({name}, dtype="auto")',
            "```",
            "",
            "The weights are of the dtype in which the search evaluated them: another one may give other replies.",
            "",
        ]
    return [
        *opening,
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        *(["from swarm_lightning.paths import locate"] if demo else []),
        "",
        f"base = locate({base})" if demo else f"base = {base}",
        "tokenizer = AutoTokenizer.from_pretrained(base)",
        f"model = AutoModelForCausalLM.from_pretrained(base, dtype={ascii(facts.dtype)})",
        f"model = PeftModel.from_pretrained(model, {name})",
        "```",
        "",
    ]


def _number(utility: float | None) -> str:
    return "" if utility is None else f"{utility:.4f}"
