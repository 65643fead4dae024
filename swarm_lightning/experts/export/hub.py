"""Uploads an exported expert to the Hugging Face hub: a new repository is private, an old one stays as it is."""

from pathlib import Path

from swarm_lightning.errors import InputError
from swarm_lightning.experts.adapters import CARD_FILE
from swarm_lightning.experts.sources import HUB_ID, HUB_NAME


def check_name(name: str) -> None:
    """Refuse what can't be the name of a repository, before anything is written.

    Args:
        name: `owner/name`, or `name` for the user's own.

    Raises:
        InputError: If the hub would take no such name.
    """
    if HUB_ID.fullmatch(name) is None and HUB_NAME.fullmatch(name) is None:
        raise InputError(
            f"Expected the name of a hub repository (owner/name) to push to, but got {name!r}. Letters, digits, -, _ "
            "and . are allowed."
        )


def push_folder(folder: Path, name: str, public: bool = False) -> str:
    """Upload a folder, and create the repository if it does not exist.

    Large files go to the hub's large file storage first, through xet or git LFS, as huggingface_hub decides.

    Args:
        folder: An exported adapter or checkpoint, with its card.
        name: `owner/name`, or `name` for the user's own.
        public: Whether a new repository is public.

    Returns:
        The address of the repository.

    Raises:
        InputError: If the folder was not exported, or the hub refuses it or can't be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    check_name(name)
    if not (folder / CARD_FILE).is_file():
        raise InputError(f"Expected an exported expert with its {CARD_FILE} to push, but {str(folder)!r} is not one.")
    api = HfApi()
    try:
        place = api.create_repo(name, private=not public, exist_ok=True)
        api.upload_folder(repo_id=place.repo_id, folder_path=folder, commit_message="Upload by swarm-lightning")
    except (HfHubHTTPError, HFValidationError, OSError, RuntimeError, ValueError) as cause:  # the last two: large files
        reason = " ".join(f"{cause} {cause.__cause__ or ''}".split()) or type(cause).__name__
        raise InputError(
            f"Expected to push {str(folder)!r} to {name!r} on the hub, but: {reason}. Check the name, the connection "
            "(HF_HUB_OFFLINE), and that you may write there (`hf auth login`, or HF_TOKEN with a token that can "
            f"write). By hand: hf upload {name} {folder}"
        ) from cause
    return str(place)
