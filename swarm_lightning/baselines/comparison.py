"""Runs all methods on the same experts, data, objective and engine, and writes one table.

What searches nothing comes first, so that a reason to be absent shows before the long work; then the model swarm,
because its evaluations are what every other search may spend. A result is kept as soon as it is there; the test split
is asked once a composition is finished, never before.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from swarm_lightning.baselines.absence import Absent
from swarm_lightning.baselines.bench import Bench
from swarm_lightning.baselines.composition_export import export_composition, folder_name
from swarm_lightning.baselines.method import Composition, Method
from swarm_lightning.baselines.picture import draw
from swarm_lightning.baselines.registry import chosen_methods, make_methods
from swarm_lightning.baselines.results import Result, agree, place_of, read_results, write_result
from swarm_lightning.baselines.settings import CompareSettings
from swarm_lightning.baselines.table import TableRow, make_rows, markdown, write_csv
from swarm_lightning.data.examples import Example
from swarm_lightning.evaluation.bootstrap import Resampling
from swarm_lightning.evaluation.kept_scores import KeptScores
from swarm_lightning.files import write_whole
from swarm_lightning.names import SWARM

if TYPE_CHECKING:
    from swarm_lightning.search.model_swarm import ModelSwarm

RUNNING = "running"  # scores of the method that is being made, until its result is there


class Comparison:
    """One comparison in one folder.

    Attributes:
        rows: The table, as far as it is made.
    """

    def __init__(
        self,
        module: "ModelSwarm",
        validation: Sequence[Example],
        test: Sequence[Example],
        settings: CompareSettings,
        folder: Path,
        protocol: Mapping[str, object],
        search: Callable[[int], None],
        say: Callable[[str], None],
        written: Callable[[], None] = lambda: None,
        begun: Callable[[str, int | None], None] = lambda _title, _budget: None,
    ) -> None:
        """Take what is compared.

        Args:
            module: The search, set up; its experts, engine and objective serve all methods.
            validation: Examples that methods may see.
            test: Examples that only finished compositions see; may be empty.
            settings: Of the comparison.
            folder: Where everything goes.
            protocol: What else belongs to the ordinary search, as plain values.
            search: Runs the ordinary search on the module with a seed.
            say: Tells the user a line.
            written: Called on the first rank whenever the table has been written.
            begun: Called when a method other than the ordinary search begins, with its title and, where it has one,
                its budget in evaluations.
        """
        self.module, self.validation, self.test = module, validation, test
        self.settings, self.folder = settings, folder
        self.methods = chosen_methods(settings)
        self.rows: list[TableRow] = []
        self._protocol, self._search, self._say, self._written = protocol, search, say, written
        self._begun = begun
        self._sampling = Resampling.of(module.objective, test, settings.resamples)
        self._results: dict[str, list[Result]] = {}
        self._absent: dict[str, str] = {}

    def run(self) -> list[TableRow]:
        """Run what is not done yet, and write the table after every method.

        Returns:
            The rows of the table.

        Raises:
            InputError: If the folder holds another comparison.
        """
        ranks = self.module.ranks
        with ranks.together():
            if ranks.index == 0:
                agree(self.folder, self._identity(), self._open())
        # Rows that other runs of the command have made stay in the table.
        self._results = ranks.first(read_results(self.folder))
        for name in sorted(self.methods, key=self._turn):
            method = self.methods[name]
            seeds: Sequence[int | None] = [None] if method.kind == "fixed" else self.settings.seeds
            try:
                for seed in seeds:
                    before = next((result for result in self._results.get(name, ()) if result.seed == seed), None)
                    result = before or self._make(name, method, seed)
                    if before is None:
                        runs = [*self._results.get(name, ()), result]
                        self._results[name] = sorted(runs, key=lambda run: run.seed or 0)
                    self._say(self._line(method.title, result, before is not None))
            except Absent as reason:
                self._results.pop(name, None)
                self._absent[name] = str(reason)
                self._say(f"{method.title}: absent, {reason}")
            self._write_table()
        return self.rows

    def _make(self, name: str, method: Method, seed: int | None) -> Result:
        count = len(self.module.pool.names)
        if count < method.least:
            raise Absent(f"it needs {method.least} experts or more, and there are {count}")
        budget = self._budget(seed) if method.kind == "search" and name != SWARM else None
        self.module.sample_by(seed or 0)  # of sampled replies; the model swarm's search sets the same
        bench = Bench(self.module, self.validation, seed or 0, budget, self._search)
        if budget is not None and bench.affordable < 2:
            raise Absent(
                f"the budget of {budget} evaluations is too small for two candidates with "
                f"{len(self.validation)} examples each"
            )
        if name != SWARM:
            self._begun(method.title if seed is None else f"{method.title}, seed {seed}", budget)
        # A method asks the same again when it is begun anew: what it knew when it was broken off is known then.
        kept = KeptScores(self.folder / RUNNING, (self._identity(), name, seed))
        started = time.perf_counter() - kept.seconds
        self.module.weights_evaluator.keep(kept)
        try:
            result = self._result(name, method, seed, bench, started)
        except Absent:
            kept.clear(self.module.ranks)
            raise
        except BaseException:
            if self.module.ranks.index == 0:
                kept.interrupt(time.perf_counter() - started)
            raise
        finally:
            self.module.weights_evaluator.keep(None)
        kept.clear(self.module.ranks)
        return result

    def _result(self, name: str, method: Method, seed: int | None, bench: Bench, started: float) -> Result:
        composition = method.compose(bench)
        seconds, spent, passes = time.perf_counter() - started, bench.spent, bench.forward_passes
        if not all(torch.isfinite(tensor).all() for tensor in composition.weights):
            raise Absent("what it made of the experts has weights that are not finite")
        test = self._score(composition)
        if not all(map(math.isfinite, (composition.utility, *test))):
            raise Absent("what it made of the experts breaks the model: its outputs are not finite")
        exported = self.settings.export and bool(composition.weights)
        parts = [folder_name(self.module), name, *([] if seed is None else [f"seed_{seed}"])]
        result = Result(
            method=name,
            seed=seed,
            validation=composition.utility,
            test=test,
            evaluations=spent if composition.evaluations is None else composition.evaluations,
            seconds=seconds if composition.seconds is None else composition.seconds,
            detail=composition.detail,
            adapter="/".join(parts) if exported else None,
            climb=bench.climb if method.kind == "search" else [],
            forward_passes=passes if composition.evaluations is None else composition.forward_passes,
        )
        with self.module.ranks.together():
            if self.module.ranks.index == 0:
                if exported:
                    folder = self.folder.joinpath(*parts)
                    export_composition(self.module, folder, composition, method.title, result, self._test_of(result))
                write_result(self.folder, result)
        return result

    def _turn(self, name: str) -> int:
        return 1 if name == SWARM else 2 * (self.methods[name].kind == "search")

    def _budget(self, seed: int | None) -> int:
        if self.settings.evaluations is not None:
            return self.settings.evaluations
        found = [result.evaluations for result in self._results.get(SWARM, []) if result.seed == seed]
        if not found:
            raise Absent("the model swarm, whose evaluations it may spend, is absent")
        return found[0]

    def _score(self, composition: Composition) -> list[float]:
        if not self.test:
            return []
        if composition.scores is not None:
            return [float(score) for score in composition.scores(self.test)]
        assert composition.vector is not None
        evaluation = self.module.weights_evaluator.evaluate(
            composition.vector.unsqueeze(0), self.test, whole_replies=True
        )
        return [float(score) for score in evaluation.scores[0]]

    def _test_of(self, result: Result) -> float | None:
        return self._sampling.utility(torch.tensor(result.test, dtype=torch.float64)) if result.test else None

    def _identity(self) -> dict[str, object]:
        """Return what all rows have in common; further methods and seeds may come later."""
        settings = self.settings
        own = {name: getattr(settings, name) for name in ("evaluations", "density", "data_merge", "domain_texts")}
        return {**self.module.identity, **self._protocol, "compare": own}

    def _open(self) -> list[str]:
        """Return the settings of a single row that has no result yet: another value changes no row."""
        rows = {"data_merge": "data_merge", "cbtm": "domain_texts"}
        return [setting for row, setting in rows.items() if not place_of(self.folder, row, None).is_file()]

    def _write_table(self) -> None:
        methods = make_methods({*self.methods, *self._results}, self.settings)
        self.rows = make_rows(methods, self._results, self._absent, self._sampling, SWARM)
        with self.module.ranks.together():
            if self.module.ranks.index == 0:
                text = markdown(self.rows, (len(self.validation), len(self.test)))
                write_whole(self.folder / "compare.md", f"# Comparison\n\n{text}\n")
                write_csv(self.rows, self.folder / "compare.csv")
                try:
                    draw(self.rows, self._title, self.folder / "compare.png")
                except Absent as reason:
                    rank_zero_warn(f"No picture was drawn: it {reason}", stacklevel=2)
                self._written()

    @property
    def _title(self) -> str:
        runs = max((row.runs for row in self.rows), default=0)
        seeds = "1 seed" if runs == 1 else f"up to {runs} seeds"
        return f"{self.module.task}: {len(self.validation)} validation and {len(self.test)} test examples, {seeds}"

    def _line(self, title: str, result: Result, kept: bool) -> str:
        seed = "" if result.seed is None else f", seed {result.seed}"
        utility = self._test_of(result)
        test = "" if utility is None else f", test {utility:.4f}"
        done = "kept from before" if kept else f"{result.evaluations} evaluations, {result.seconds:.1f} s"
        return f"{title}{seed}: validation {result.validation:.4f}{test} ({done})"
