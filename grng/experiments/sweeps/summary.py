"""What a sweep has come to: the best trial, what mattered, and whether the space was wide enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.edges import Edge, edges
from grng.experiments.sweeps.ended import SUMMARY
from grng.experiments.sweeps.endings import ENDINGS, pruned_sentence
from grng.experiments.sweeps.in_notebook import SweepInNotebook
from grng.experiments.sweeps.maps import axes_of
from grng.experiments.sweeps.objectives import TITLES, minimizes, needs_target, worst
from grng.experiments.sweeps.samplers import distribution, quiet_optuna, to_optuna
from grng.experiments.sweeps.spaces import Space, run_config
from grng.experiments.sweeps.trials import Trial
from grng.report.axes import Axis
from grng.report.sensitivity import SensitivityMap, default_pairs, make_map, points_of
from grng.report.tuning_curves import Curve, curve_of
from grng.runs.config import RunConfig
from grng.runs.files import atomic_write_json, atomic_write_text
from grng.runs.loading import dump_yaml

BEST = "best.yaml"

LEAST_FOR_IMPORTANCE = 8
"""Trials below which nothing is said about what mattered."""

LEAST_FOR_MAPS = 8
"""Trials below which maps that nobody asked for are not shown."""

_GOOD_TRIALS = 5


@dataclass(frozen=True)
class Summary(SweepInNotebook):
    """The outcome of a sweep; `document()` is what `sweep.json` has.

    Args:
        directory: The sweep's.
        optimizer: Its name.
        model: Its name.
        dataset: Its name.
        objective: What is best.
        sampler: How values were chosen.
        seed: The sampler's.
        tuning_seeds: Of the runs of every trial.
        pruner: What ended trials early; none: nothing did.
        space: What is searched, as text.
        trials: All trials, by number.
        best: The best of those whose runs all finished; None: there is none.
        importance: Share of each name in what made trials good; empty where that cannot be told.
        edges: Best values at an end of their range.
        axes: What maps can be made of, by name.
        maps_asked: Pairs of these that maps were asked for; None: what is worth one.
    """

    directory: Path
    optimizer: str
    model: str
    dataset: str
    objective: str
    sampler: str
    seed: int
    tuning_seeds: tuple[int, ...]
    space: dict[str, str]
    trials: tuple[Trial, ...]
    best: Trial | None
    importance: dict[str, float]
    edges: tuple[Edge, ...]
    axes: Mapping[str, Axis]
    maps_asked: tuple[tuple[str, str], ...] | None = None
    pruner: str = "none"

    @property
    def maps(self) -> list[SensitivityMap]:
        """The result over pairs of hyperparameters; none where nothing has ended."""
        points = points_of(self._content())
        pairs = default_pairs(points, self.importance) if self.maps_asked is None else self.maps_asked
        return [make_map(points, x, y) for x, y in pairs] if points.points else []

    @property
    def shown_maps(self) -> list[SensitivityMap]:
        """Those that a terminal shows."""
        asked = self.maps_asked is not None or sum(trial.ended for trial in self.trials) >= LEAST_FOR_MAPS
        return self.maps if asked else []

    @property
    def best_config(self) -> Path:
        """Where the best configuration is, for `grng train --config`."""
        return self.directory / BEST

    @property
    def counts(self) -> dict[str, int]:
        """How many trials finished, were pruned, diverged, failed, and still run."""
        statuses = [trial.status for trial in self.trials]
        return {status: statuses.count(status) for status in (*ENDINGS, "running")}

    @property
    def ranked(self) -> list[Trial]:
        """The trials that have ended, the best first."""
        return sorted((trial for trial in self.trials if trial.ended), key=lambda t: rank(t, self.objective))

    @property
    def improvements(self) -> list[Trial]:
        """The trials that were better than all before them."""
        found: list[Trial] = []
        for trial in self.trials:
            if trial.status == "finished" and (not found or _better(trial, found[-1], self.objective)):
                found.append(trial)
        return found

    @property
    def curve(self) -> Curve | None:
        """What fewer trials would have found; None while none has ended."""
        lost = worst(self.objective)
        values = [
            lost if trial.status not in ("finished", "pruned") or trial.value is None else trial.value
            for trial in self.trials
            if trial.ended
        ]
        if not values:
            return None
        maximise = not minimizes(self.objective)
        return curve_of(values, objective=self.objective, maximise=maximise, sampler=self.sampler)

    @property
    def warnings(self) -> list[str]:
        """What must not be overlooked."""
        said = [edge.sentence() for edge in self.edges]
        if self.pruner != "none":
            said.append(pruned_sentence(self.pruner, self.counts["pruned"], sum(trial.ended for trial in self.trials)))
        if self.best is None and any(trial.ended for trial in self.trials):
            said.append("no trial finished, so there is no best one.")
        elif self.best is not None and needs_target(self.objective) and math.isinf(self.best.value or 0.0):
            said.append("no trial reached the target; the best is the one with the highest validation accuracy.")
        return said

    def document(self) -> dict[str, Any]:
        """Return it as JSON; a value that is not finite is null."""
        return {**self._content(), "maps": [one.document() for one in self.maps]}

    def _content(self) -> dict[str, Any]:
        best = self.best
        return {
            "schema_version": 1,
            "directory": str(self.directory),
            "optimizer": self.optimizer,
            "model": self.model,
            "dataset": self.dataset,
            "objective": self.objective,
            "direction": "minimize" if minimizes(self.objective) else "maximize",
            "sampler": self.sampler,
            "seed": self.seed,
            "tuning_seeds": list(self.tuning_seeds),
            "pruner": self.pruner,
            "space": self.space,
            "axes": {name: axis.document() for name, axis in self.axes.items()},
            "counts": self.counts,
            "best": None if best is None else {**_entry(best), "config": str(self.best_config)},
            "best_so_far": [{"trial": trial.number, "value": _finite(trial.value)} for trial in self.improvements],
            "best_of": [
                {"k": one.k, "mean": _finite(one.mean), "low": _finite(one.low), "high": _finite(one.high)}
                for one in (self.curve.points if self.curve else ())
            ],
            "importance": self.importance,
            "edges": [
                {"name": e.name, "value": e.value, "bound": e.bound, "upper": e.upper, "wider": e.wider}
                for e in self.edges
            ],
            "warnings": self.warnings,
            "trials": [_entry(trial) for trial in self.trials],
        }


def summarise(config: SweepConfig, space: Space, probe: RunConfig, directory: Path, trials: Sequence[Trial]) -> Summary:
    """Return what the trials have come to."""
    finished = [trial for trial in trials if trial.status == "finished"]
    best = min(finished, key=lambda trial: rank(trial, config.objective), default=None)
    return Summary(
        directory=directory,
        optimizer=config.optimizer.name,
        model=probe.model.name,
        dataset=probe.dataset.name,
        objective=config.objective,
        sampler=config.sampler,
        seed=config.seed,
        tuning_seeds=tuple(config.seeds),
        space={name: str(dimension) for name, dimension in space.items()},
        trials=tuple(trials),
        best=best,
        importance=importance(space, trials, config.objective),
        edges=() if best is None else tuple(edges(config, space, best)),
        axes=axes_of(space, grid=config.sampler == "grid"),
        pruner=config.pruner,
        maps_asked=None if config.maps is None else tuple((x, y) for x, y in config.maps),
    )


def best_config(config: SweepConfig, best: Trial) -> RunConfig:
    """Return the resolved config of a run with the best values, with a seed that no trial has seen."""
    return run_config(config, best.values, seed=0)


def write(summary: Summary, config: SweepConfig) -> None:
    """Write `sweep.json`, and `best.yaml` where there is a best trial.

    Raises:
        RunDirectoryError: They cannot be written.
    """
    if summary.best is not None:
        atomic_write_text(summary.best_config, dump_yaml(best_config(config, summary.best)))
    atomic_write_json(summary.directory / SUMMARY, summary.document())


def rank(trial: Trial, objective: str) -> tuple[bool, float, float, int]:
    """Return a key that sorts ended trials, the best first; of equals the more accurate, then the earlier one."""
    value = trial.value if trial.value is not None else math.inf
    sign = 1.0 if minimizes(objective) else -1.0
    return trial.status != "finished", sign * value, -(trial.val_accuracy or 0.0), trial.number


def importance(space: Space, trials: Sequence[Trial], objective: str) -> dict[str, float]:
    """Return the share of each name in what made trials good, the largest first; empty where that cannot be told.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255) asks how differently good trials and all trials are distributed;
    it needs no model of the objective, and no other package.
    """
    ended = [trial for trial in trials if trial.value is not None and math.isfinite(trial.value)]
    if len(ended) < LEAST_FOR_IMPORTANCE or len(space) < 2 or len({trial.value for trial in ended}) < 2:
        return {}
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    distributions = {name: distribution(one) for name, one in space.items()}
    with quiet_optuna():
        study = optuna.create_study(direction="minimize" if minimizes(objective) else "maximize")
        study.add_trials(
            [
                create_trial(value=trial.value, params=to_optuna(space, trial.values), distributions=distributions)
                for trial in ended
            ]
        )
        evaluator = PedAnovaImportanceEvaluator(target_quantile=min(0.5, max(0.1, _GOOD_TRIALS / len(ended))))
        found = get_param_importances(study, evaluator=evaluator)
    if not all(math.isfinite(share) for share in found.values()):
        return {}
    return {name: round(float(share), 4) for name, share in sorted(found.items(), key=lambda one: -one[1])}


def _better(trial: Trial, other: Trial, objective: str) -> bool:
    return rank(trial, objective)[:3] < rank(other, objective)[:3]


def _entry(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "status": trial.status,
        "value": _finite(trial.value),
        "val_accuracy": _finite(trial.val_accuracy),
        "values": trial.values,
        "runs": [{key: _finite(value) for key, value in run.stored().items()} for run in trial.runs],
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def title(objective: str) -> str:
    """Return the objective as a column's heading."""
    return TITLES[objective]
