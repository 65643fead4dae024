"""Where a base and its experts come from, and under which licenses, as far as their own files say so.

Nothing is fetched: what counts is the model card in a folder or in the hub's cache, and what adapters name as their
base.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from swarm_lightning.experts.adapters import CARD_FILE, CONFIG_FILE
from swarm_lightning.experts.naming import name_of
from swarm_lightning.experts.sources import HUB_ID
from swarm_lightning.paths import DEMO_PREFIX, locate
from swarm_lightning.texts import read_text


@dataclass(frozen=True)
class Provenance:
    """What is known of a base and its experts beside their weights.

    Attributes:
        base: Hub id of the base; None where nobody says it.
        base_license: That of the base; None where its card states none.
        licenses: Those of the experts that state one, by the expert's name.
    """

    base: str | None = None
    base_license: str | None = None
    licenses: Mapping[str, str] = field(default_factory=dict)

    @property
    def license(self) -> str | None:
        """The one license that the base and all experts that state one agree on; None where there is no such."""
        return self.base_license if {*self.licenses.values()} <= {self.base_license} else None


def provenance_of(base: str, names: Sequence[str], sources: Sequence[str]) -> Provenance:
    """Gather what is known.

    Args:
        base: Folder or hub id of the base.
        names: Of the experts.
        sources: The folder or hub id of each.
    """
    stated = {name: license_of(source) for name, source in zip(names, sources, strict=True)}
    id_ = hub_id_of(base, sources)
    own = license_of(base) or (None if id_ is None else license_of(id_))
    return Provenance(id_, own, {name: license_ for name, license_ in stated.items() if license_ is not None})


def hub_id_of(base: str, experts: Sequence[str] = ()) -> str | None:
    """Return the hub id of a base: its own, that of its snapshot in the cache, or the one that all adapters name.

    What adapters name may as well be a path of the machine that trained them. So it counts where it ends with the name
    of the base's folder.

    Args:
        base: Folder or hub id.
        experts: Folders or hub ids of adapters of this base.

    >>> hub_id_of("owner/base"), hub_id_of("/models/base"), hub_id_of("demo:base")
    ('owner/base', None, None)
    """
    if base.startswith(DEMO_PREFIX):
        return None
    folder = Path(base).expanduser()
    if not folder.exists():
        return base if HUB_ID.fullmatch(base) else None
    if HUB_ID.fullmatch(name := name_of(folder)):
        return name
    named = {_base_named_by(expert) for expert in experts}
    one = named.pop() if len(named) == 1 else None
    if one is None or not HUB_ID.fullmatch(one) or Path(one).exists():
        return None
    return one if one.rpartition("/")[2].lower() == name.lower() else None


def license_of(source: str) -> str | None:
    """Return the license that a model card states, in the hub's words, such as `apache-2.0`.

    Args:
        source: Folder or hub id of a model or an adapter.
    """
    from huggingface_hub.repocard import metadata_load

    card = _file_of(source, CARD_FILE)
    try:
        metadata = None if card is None else metadata_load(card)
    except (OSError, ValueError, yaml.YAMLError):  # a page without valid front matter states nothing
        return None
    stated = metadata.get("license") if isinstance(metadata, dict) else None
    return stated if isinstance(stated, str) and stated else None


def _base_named_by(adapter: str) -> str | None:
    path = _file_of(adapter, CONFIG_FILE)
    try:
        config = {} if path is None else json.loads(read_text(path))
    except json.JSONDecodeError:
        return None
    named = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    return named if isinstance(named, str) else None


def _file_of(source: str, name: str) -> Path | None:
    """Return a file of a folder, or of the cached copy of a hub repository; None where it is not there."""
    from huggingface_hub import try_to_load_from_cache

    folder = Path(locate(source)).expanduser()
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    cached = try_to_load_from_cache(source, name) if HUB_ID.fullmatch(source) else None
    return Path(cached) if isinstance(cached, str) else None
