"""The optimizers, each usable alone in a training loop of your own. Needs torch and nothing else."""
