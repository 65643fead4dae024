import heterogeneous


def test_the_table_tells_means_spreads_and_gains_over_the_best_expert() -> None:
    found = [
        {"plain swarm": 60.0, "best single expert": 50.0, "replies of plain swarm": 100},
        {"plain swarm": 64.0, "best single expert": 56.0, "replies of plain swarm": 3000},
    ]
    # The standard deviation of 60 and 64 is 8 ** 0.5; the gains are 10 and 8.
    assert heterogeneous.table(found).splitlines()[2:] == [
        "| plain swarm | 62.0 | 2.8 | +9.0 | 1,550 |",
        "| best single expert | 53.0 | 4.2 | +0.0 |  |",
    ]
