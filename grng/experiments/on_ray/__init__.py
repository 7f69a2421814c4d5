"""`--engine ray`: the runs of an experiment on the machines of a Ray cluster."""
