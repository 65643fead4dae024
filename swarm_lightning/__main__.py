"""Lets `python -m swarm_lightning` be the command `swarm`."""

from swarm_lightning.cli import main

if __name__ == "__main__":
    main()
