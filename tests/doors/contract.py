"""What a contract test says when a library has changed under its door."""

from importlib.metadata import version


def changed(library: str, what: str, door: str) -> str:
    """Return the message of a failed contract.

    >>> changed("torch", "its compiler", "torch.py").partition(" changed ")[2]
    'its compiler; swarm_lightning/doors/torch.py relies on it as it was.'
    """
    return f"{library} {version(library)} changed {what}; swarm_lightning/doors/{door} relies on it as it was."
