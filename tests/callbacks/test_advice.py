"""What is advised, on scores of experts that are written down by hand."""

from dataclasses import replace

import torch

from swarm_lightning.callbacks.advice import advice_on, complement, routed
from swarm_lightning.data.examples import Example
from swarm_lightning.objectives import Custom, ExactMatch, MultipleChoice

# Two kinds of questions, twelve of each; the first expert is right on the one kind, the second on the other.
EXAMPLES = [Example(f"Which colour has the fox number {place}?", "red") for place in range(12)]
EXAMPLES += [Example(f"Add {place} and seven", "9") for place in range(12)]
APART = torch.tensor([[1.0] * 12 + [0.0] * 12, [0.0] * 12 + [1.0] * 12], dtype=torch.float64)


def _length(reply: str, example: Example) -> float:
    return float(len(reply))


def test_a_router_sends_each_question_to_who_is_best_on_the_questions_like_it() -> None:
    assert routed(APART, EXAMPLES).tolist() == [1.0] * 24


def test_a_router_does_not_see_the_question_that_it_is_asked() -> None:
    scores = torch.zeros(2, 24, dtype=torch.float64)
    scores[1, 0] = 1.0  # one lucky hit, that no other question tells of
    scores[0, 1:12] = 1.0
    assert float(routed(scores, EXAMPLES)[0]) == 0.0


def test_routing_is_advised_where_it_is_measured_to_be_better() -> None:
    routing, training = advice_on(ExactMatch(), APART, 0.5, EXAMPLES)
    assert routing.startswith("Routing would likely give more")
    assert "scores 1.0000 on the 24 validation examples, against 0.5000" in routing
    assert "Some expert answers 100% of the examples, the best alone 50%." in routing
    assert training.startswith("Training on the same 24 examples may give more")


def test_routing_is_not_advised_where_it_is_not() -> None:
    same = APART[:1].expand(2, -1)
    assert advice_on(ExactMatch(), same, 0.5, EXAMPLES)[0].startswith("Routing would not give clearly more")


def test_experts_that_complement_each_other_are_named_where_wording_does_not_tell_whom_to_ask() -> None:
    # Each is right on every second question of either kind: which, their wording does not say.
    scores = torch.tensor([[1.0, 0.0] * 12, [0.0, 1.0] * 12], dtype=torch.float64)
    said = advice_on(ExactMatch(), scores, 0.45, EXAMPLES)[0]
    assert said.startswith(
        "Some expert answers 100% of the examples, the best alone 50%. Routing between them could gain"
    )
    assert "against 0.4500 for what was found" in said
    graded = complement(torch.tensor([[0.5, 0.0], [0.25, 0.75]]), EXAMPLES[:2])
    assert graded == "Whoever is best on each example scores 0.6250 on average, the best expert alone 0.5000."


def test_what_guessing_among_choices_explains_is_no_sign_of_knowledge() -> None:
    # Two experts that guess among two choices answer three of four together.
    choices = [replace(example, choices={"A": "x", "B": "y"}) for example in EXAMPLES]
    scores = torch.tensor([[1.0, 1.0, 0.0, 0.0] * 6, [1.0, 0.0, 1.0, 0.0] * 6], dtype=torch.float64)
    assert advice_on(MultipleChoice(), scores, 0.5, choices)[0].startswith("Routing would not give clearly more")
    assert complement(scores, choices).endswith("the best alone 50%; as many that guess would answer 75%.")


def test_an_objective_that_gives_no_right_answers_is_nothing_to_train_on() -> None:
    objective = Custom(_length, template="{question}")
    assert advice_on(objective, APART, 0.5, EXAMPLES)[1] == (
        "There is nothing to train on directly: Custom scores replies but has no right answers."
    )
