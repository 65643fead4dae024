"""The runners of this package, one file each; what a runner is, is said in `evaluation/runner.py`."""
