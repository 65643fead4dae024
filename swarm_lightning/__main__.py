"""Lets `python -m swarm_lightning` be the command `swarm`."""

import sys

from swarm_lightning.cli import main

if __name__ == "__main__":
    sys.argv[0] = "swarm"  # what help and messages call it
    main()
