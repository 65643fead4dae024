"""Names in what a search leaves that both the search and the page of a run know, without loading torch."""

# The method of a comparison that is the ordinary search.
SWARM = "model_swarm"
# Rows of the tables of scores.
INITIAL, FOUND = "best initial expert", "best found expert"
# Columns of the history. Beside a guide's numbers: what the objective says of the best so far, or of the centre of an
# evolution strategy.
OF_BEST, OF_CENTRE = "global_best_by_objective", "centre_by_objective"
# Of systems of models: the utility of the best so far, and the mean of those that a weight step asked.
SYSTEM, ASSIGNMENTS = "system_best", "assignments_mean"
