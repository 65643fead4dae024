"""Whether a run that was ended before its first checkpoint is the search that a user wants to go on with.

With a checkpoint `search/settings.py` answers this; before there is one, the config in the run folder does.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from swarm_lightning.differences import flatten
from swarm_lightning.errors import InputError
from swarm_lightning.runs.run_folder import CONFIG

PARTS = ("seed_everything", "model", "data", "restart")  # of a config: what makes a search this one
OBJECTIVE = "model.objective"
FREE = ("model.engine", "model.log_particles")


def other_settings(folder: Path, present: str) -> list[str]:
    """Name the settings in which a run's search differs from the present one.

    Args:
        folder: The run's, with its config.
        present: The present config as YAML.

    Returns:
        Names joined by dots, sorted; empty where it is the same search.

    Raises:
        InputError: If the run's config can't be read.
    """
    path = folder / CONFIG
    try:
        saved = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"Expected the config of a run in {str(path)!r}, but it can't be read: {error}.") from error
    then, now = _settings(saved if isinstance(saved, dict) else {}), _settings(yaml.safe_load(present))
    if now.get(OBJECTIVE, "") is None:  # the run's config has what was chosen then; what is chosen now, the data decide
        del now[OBJECTIVE]
        then = {name: value for name, value in then.items() if f"{name}.".partition(f"{OBJECTIVE}.")[0]}
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    settings = flatten({part: config.get(part) for part in PARTS})
    return {name: value for name, value in settings.items() if not name.startswith(FREE)}
