"""Experts in and out: PEFT adapter folders, their weights as one vector [D], and the resident base that runs them.

What an expert is, and what is refused, stands in `checks.py` and `settings.py`; the moves on the vectors belong to
`swarm_lightning.swarm`.
"""
