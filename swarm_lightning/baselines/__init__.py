"""Other ways to make one model of several experts, and the comparison of all of them at equal cost.

Every method stands in a file of its own, with its formula and its source; `registry.py` names them all, `bench.py` is
what they may use, and `comparison.py` runs them and makes the table.
"""
