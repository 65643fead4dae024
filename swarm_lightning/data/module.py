"""Hands the splits to Lightning: one batch an epoch, because one iteration of the swarm looks at every example.

The work is done by `readers.py`, `checks.py`, `tasks.py` and `prompts.py`; this class holds settings and result.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning import LightningDataModule
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from swarm_lightning.data.checks import check_splits
from swarm_lightning.data.examples import Example, ExampleSplits
from swarm_lightning.data.notices import Notice
from swarm_lightning.data.prompts import read_prompts
from swarm_lightning.data.readers import read_splits
from swarm_lightning.data.tasks import give_tasks, join_tasks, refuse_tasks, settings_by_task
from swarm_lightning.doors.lightning import NoLoaders
from swarm_lightning.errors import InputError


class OneBatch:
    """A loader whose only batch is the whole split.

    No `DataLoader`: Lightning would share its batches out among the ranks and warn about its missing workers.

    >>> [len(batch) for batch in OneBatch([Example("1 + 1?"), Example("1 + 2?")])]
    [2]
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __iter__(self) -> Iterator[list[Example]]:
        yield list(self.examples)

    def __len__(self) -> int:
        return 1


def show_notices(notices: Sequence[Notice]) -> None:
    """Show what was noticed about data, on the first process only."""
    for notice in notices:
        if notice.severity == "warning":
            rank_zero_warn(notice.message, category=UserWarning)
        else:
            rank_zero_info(notice.message)


class SwarmData(LightningDataModule):
    """The examples that guide the search and those that test its result.

    Args:
        dataset: A .json file with `dev` and `test` or other splits; a .json, .jsonl, .csv, .tsv or .parquet file with
            records; a folder written by `save_to_disk` or with data files; the id of a dataset on the Hugging Face hub;
            or `lm_eval:` followed by a task of the lm-evaluation-harness (its name, or the path of a YAML, whose Python
            code is run). For the objective MultiTask, a mapping from task names to such datasets; then all settings
            below except the last two may be mappings by task too, and otherwise apply to all tasks.
        test_dataset: A second dataset with the test split; null if `dataset` has it, or if both splits are to be drawn
            from a single one.
        subset: Configuration of a hub dataset that has several.
        validation_split: Name of the split that guides the search; null for `validation`, `dev`, `val` or `valid`.
        test_split: Name of the split that is held back; null for `test`.
        columns: Which columns to use, as in `{question: my_question, answer: gold, choices: [opt_a, opt_b]}`; the parts
            are question, prompt, answer, choices, id and icl_prompt, by default the columns of these names. An answer
            may be the label of a choice, its text, or its index counted from 0.
        validation_size: Number of examples to draw for validation; null for the whole split, or for 200 if both splits
            are drawn from one.
        test_size: Number of examples to draw for test; null for the whole split, or for 1000 if both splits are drawn
            from one.
        seed: Seed of the draw; null for the seed of the run.
        prompts: File with the prompts for `predict`: .txt with one prompt per line, or records with `prompt` or
            `question`. With several tasks, the column `task` names the task of a record.
        prompts_task: The task of prompts that name none, if there are several tasks.
    """

    def __init__(
        self,
        dataset: dict[str, str] | str,
        test_dataset: dict[str, str | None] | str | None = None,
        subset: dict[str, str | None] | str | None = None,
        validation_split: dict[str, str | None] | str | None = None,
        test_split: dict[str, str | None] | str | None = None,
        columns: dict[str, str | list[str] | dict[str, str | list[str] | None] | None] | None = None,
        validation_size: int | dict[str, int | None] | None = None,
        test_size: int | dict[str, int | None] | None = None,
        seed: int | dict[str, int | None] | None = None,
        prompts: str | None = None,
        prompts_task: str | None = None,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.test_dataset = test_dataset
        self.subset = subset
        self.validation_split = validation_split
        self.test_split = test_split
        self.columns = columns
        self.validation_size = validation_size
        self.test_size = test_size
        self.seed = seed
        self.prompts = prompts
        self.prompts_task = prompts_task
        self._read: tuple[ExampleSplits, list[Notice]] | None = None
        self._prompt_examples: list[Example] | None = None
        self._reported = False
        # The trainer's own limit of batches to validate, while a search goes on.

    @property
    def splits(self) -> ExampleSplits:
        """The validation and the test split; read on first use.

        Raises:
            InputError: If they can't be read, or no search can run with them.
        """
        return self._read_once()[0]

    @property
    def notices(self) -> list[Notice]:
        """What was noticed about the data: leaks, duplicates, records left out, draws."""
        return list(self._read_once()[1])

    @property
    def fingerprint(self) -> str:
        """Sha256 in hex over the content of both splits: a resumed run can tell that its data has changed."""
        return self.splits.fingerprint

    def prepare_data(self) -> None:
        """Read and check everything, so that what is wrong comes up before any long work."""
        self._read_once()
        if self.prompts is not None:
            self._read_prompts(self.prompts)

    def setup(self, stage: str | None = None) -> None:
        """Read the data where this process has not done so, and show what was noticed, once."""
        notices = self.notices
        if self._reported:
            return
        self._reported = True
        show_notices(notices)

    def train_dataloader(self) -> OneBatch:
        """The whole validation split, which guides the search, as one batch an epoch."""
        return OneBatch(self.splits.validation)

    def val_dataloader(self) -> OneBatch | NoLoaders:
        """The same batch; none while fitting, where the search has scored the split already."""
        if self.trainer is not None and self.trainer.state.fn == "fit":
            return NoLoaders()
        return OneBatch(self.splits.validation)

    def test_dataloader(self) -> OneBatch:
        """The whole test split as one batch."""
        return OneBatch(self.splits.test)

    def predict_dataloader(self) -> OneBatch:
        """All prompts as one batch.

        Raises:
            InputError: If no file with prompts was named, or it can't be read.
        """
        if self.prompts is None:
            raise InputError("Expected a file with prompts, but `prompts` is not set. Name one: --data.prompts FILE.")
        return OneBatch(self._read_prompts(self.prompts))

    def _read_prompts(self, source: str) -> list[Example]:
        if self._prompt_examples is None:
            prompts, notices = read_prompts(source)
            if isinstance(self.dataset, Mapping):
                prompts = give_tasks(prompts, list(self.dataset), self.prompts_task, source)
            elif self.prompts_task is not None:
                raise InputError(
                    f"Expected prompts_task only with several tasks, but got {self.prompts_task!r} with one dataset. "
                    "Leave it out."
                )
            self._prompt_examples = prompts
            show_notices(notices)
        return self._prompt_examples

    def _read_once(self) -> tuple[ExampleSplits, list[Notice]]:
        if self._read is None:
            settings: dict[str, Any] = {
                "test_source": self.test_dataset,
                "subset": self.subset,
                "validation_split": self.validation_split,
                "test_split": self.test_split,
                "columns": self.columns,
                "validation_size": self.validation_size,
                "test_size": self.test_size,
                "seed": self.seed,
            }
            if isinstance(self.dataset, Mapping):
                by_task = settings_by_task(self.dataset, settings)
                splits, notices = join_tasks({task: read_splits(**chosen) for task, chosen in by_task.items()})
            else:
                refuse_tasks(settings)
                splits = read_splits(self.dataset, **settings)
                notices = [*check_splits(splits), *splits.notices]
            errors = [notice.message for notice in notices if notice.severity == "error"]
            if errors:
                raise InputError(" ".join(errors))
            self._read = (splits, notices)
        return self._read
