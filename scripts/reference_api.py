"""The page of the Python interface: which names it has; mkdocstrings fills in signatures and docstrings.

The docs site makes it at every build (scripts/docs_hooks.py).
"""

from __future__ import annotations

from collections.abc import Mapping

HEAD = """# Python

Made from the docstrings. What is in `grng` itself is imported by `from grng import …`, without loading torch or timm.
"""

NAMES: Mapping[str, tuple[str, ...]] = {
    "Running": (
        "grng.training.trainer.train",
        "grng.experiments.workloads.compare.compare",
        "grng.experiments.sweeps.sweep.sweep",
    ),
    "Results": (
        "grng.experiments.compare.Comparison",
        "grng.experiments.workloads.compare.Comparisons",
        "grng.experiments.sweeps.summary.Summary",
        "grng.report.load.load_experiment",
        "grng.report.workloads.load_workloads",
        "grng.report.tables.summarise",
        "grng.report.tables.Table",
        "grng.report.row.Row",
    ),
    "Configurations": (
        "grng.runs.config.RunConfig",
        "grng.runs.config.resolve",
        "grng.runs.loading.load_config",
        "grng.runs.loading.load_file",
    ),
    "Optimizers": (
        "grng.optimizers.create_optimizer",
        "grng.optimizers.list_optimizers",
        "grng.optimizers.hyperparameters",
        "grng.optim.ring.RING",
        "grng.optim.reng.RENG",
        "grng.optim.rkalman.RKalman",
        "grng.optim.kfac.KFAC",
        "grng.optim.sophia.Sophia",
        "grng.optim.controls.GRSGD",
        "grng.optim.controls.GRAdamW",
        "grng.optim.controls.SAM",
        "grng.optim.contract.Contract",
    ),
    "Errors": ("grng.errors.GrngError", "grng.errors.ConfigError"),
    "Statistics": ("grng.statistics",),
}

WITH_INHERITED = (
    "grng.experiments.compare.Comparison",
    "grng.experiments.workloads.compare.Comparisons",
    "grng.experiments.sweeps.summary.Summary",
)
"""Classes whose `table` and `plot` stand in a class that they share."""


def page() -> str:
    """Return the whole page as Markdown."""
    sections = [f"## {title}\n\n" + "\n".join(map(_directive, names)) for title, names in NAMES.items()]
    return "\n".join([HEAD, *sections])


def _directive(name: str) -> str:
    options = "    options:\n      inherited_members: true\n" if name in WITH_INHERITED else ""
    return f"::: {name}\n{options}"
