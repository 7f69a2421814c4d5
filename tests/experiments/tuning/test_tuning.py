"""Comparisons that tune their rows first, with runs that only compute their result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from grng.errors import ConfigError, GrngError, RunDirectoryError
from grng.experiments.compare import prepare
from grng.experiments.compare_config import CompareConfig
from grng.experiments.pool.executor import InProcessExecutor
from grng.experiments.sweeps import sweep as sweep_module
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.spaces import declared_space
from grng.experiments.sweeps.sweep import sweep
from grng.experiments.tuning.plan import sweeps_of
from grng.experiments.tuning.tune import NothingFoundError, target_warnings, tune
from grng.optimizers import list_optimizers
from grng.report.load import load_experiment
from grng.report.tables import summarise
from grng.runs.loading import load_config
from tests.experiments.tuning_runs import SMALL, Fake, falling, ready, run


@pytest.fixture(autouse=True)
def _nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grng.experiments.preflight.check", lambda configs, **given: ())
    monkeypatch.setattr(sweep_module, "POLL_SECONDS", 0.01)


def lowest(directory: Path, row: str) -> float:
    found = json.loads((directory / "tuning" / row / "sweep.json").read_text())
    return min(float(trial["values"]["lr"]) for trial in found["trials"])


def record_of(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((directory / "experiment.yaml").read_text())
    return found


def test_rows_are_reported_with_the_best_of_their_trials_on_fresh_seeds(tmp_path: Path) -> None:
    runner = Fake(falling)
    comparison = run(ready(tmp_path / "x", tune={"trials": 3, "tuning_seeds": 2}), runner)
    trials, reported = runner.configs[:12], runner.configs[12:]
    assert {config.seed for config in trials} == {1_000_000, 1_000_001}
    assert [(config.label, config.seed) for config in reported] == [("adamw", 0), ("sgd", 0), ("adamw", 1), ("sgd", 1)]
    for config in reported:
        assert config.optimizer.hyperparameters["lr"] == lowest(tmp_path / "x", config.optimizer.name)
    assert comparison.directory == tmp_path / "x"
    assert {path.relative_to(tmp_path / "x").parts[:2] for path in runner.done[:12]} == {
        ("tuning", "adamw"),
        ("tuning", "sgd"),
    }
    experiment = load_experiment(tmp_path / "x")
    assert experiment.warnings == (), "trials are no runs of the experiment, and no strangers in it"
    assert {run.seed for run in experiment.runs} == {0, 1}
    table = summarise(experiment)
    assert "tuned: 3 trials each (quasi-random, validation accuracy, 2 tuning seeds a trial)" in table.notes
    assert [row.tuning_trials for row in table.rows] == [3, 3]
    assert record_of(tmp_path / "x")["tuning"]["sgd"]["directory"] == "tuning/sgd"
    moved = (tmp_path / "x").rename(tmp_path / "y")
    assert [curve.trials for curve in load_experiment(moved).curves.values()] == [3, 3], "found again where it is now"


def test_the_same_again_does_nothing_and_what_was_cut_off_goes_on(tmp_path: Path) -> None:
    straight = run(ready(tmp_path / "a", tune=2), Fake(falling))
    for stop in (3, 5):  # while the second row is tuned, and while runs are reported
        runner = Fake(falling, stop_at=stop)
        with pytest.raises(KeyboardInterrupt):
            run(ready(tmp_path / str(stop), tune=2), runner)
        rest = Fake(falling)
        comparison = run(ready(tmp_path / str(stop), tune=2), rest)
        assert len(rest.done) == 8 - stop
        assert [one.final for one in comparison.results] == [one.final for one in straight.results]
    again = Fake(falling)
    run(ready(tmp_path / "a", tune=2), again)
    assert not again.done
    run(ready(tmp_path / "a", tune=2), again, rerun=True)
    assert len(again.done) == 8


def test_given_hyperparameters_are_not_searched_and_spaces_are_changed_row_by_row(tmp_path: Path) -> None:
    config = CompareConfig.model_validate(
        {
            **SMALL,
            "optimizers": ["ring", "ring[rho=0]", {"name": "ring", "label": "mine"}],
            "tune": {
                "trials": 2,
                "spaces": {"ring": {"lr": "log(1e-5, 1e-4)", "rho": None}, "mine": {"optimizer": {"rho": [0.5, 1]}}},
            },
        }
    )
    spaces = {label: {name: str(one) for name, one in made.space.items()} for label, made in sweeps_of(config).items()}
    decay = "choice(0, 0.01, 0.05, 0.2)"
    assert spaces["ring"] == {"lr": "log(1e-05, 0.0001)", "weight_decay": decay}
    assert spaces["ring[rho=0]"] == {"lr": "log(1e-05, 0.0001)", "weight_decay": decay}
    assert spaces["mine"] == {"lr": "log(1e-05, 0.0001)", "rho": "choice(0.5, 1)", "weight_decay": decay}


def test_every_optimizer_can_be_tuned() -> None:
    names = [info.name for info in list_optimizers() if declared_space(info.name)]
    assert {"sgd", "adamw", "kfac", "sophia-g", "ring", "reng", "r-kalman", "sam"} <= set(names)
    config = CompareConfig.model_validate({**SMALL, "optimizers": names})
    for label, made in sweeps_of(config).items():
        assert set(made.space) <= set(declared_space(label)) != set()
        assert (made.total, made.probe.training.epochs, made.probe.training.eval_every) == (3, 3, 9)


def test_an_optimizer_whose_defaults_do_not_do_is_tuned_over_a_space_of_its_own(tmp_path: Path) -> None:
    spaces = {"timm:sgdp": {"lr": "log(1e-3, 1e-1)"}}
    comparison = run(ready(tmp_path / "x", optimizers="timm:sgdp", tune={"trials": 2, "spaces": spaces}), falling)
    assert comparison.results[0].hyperparameters["lr"] == lowest(tmp_path / "x", "timm_sgdp~" + _digest("timm:sgdp"))


def _digest(label: str) -> str:
    from grng.runs.identity import directory_name

    return directory_name(label).partition("~")[2]


def test_the_directory_is_known_before_and_by_what_is_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def place(**given: Any) -> Path:
        config = CompareConfig.model_validate({**SMALL, **given})
        return prepare(config).directory

    same = {place(), place(optimizers="sgd,adamw"), place(workers=1)}
    others = [
        place(tune=4),
        place(tune={"trials": 3, "sampler": "random"}),
        place(tune={"trials": 3, "spaces": {"sgd": {"lr": "log(1e-3, 1)"}}}),
        place(tune=None),
        place(training={"target": "tuned"}),
    ]
    assert len(same) == 1
    assert len({*same, *others}) == 6


def test_another_tuning_in_the_same_directory_is_refused_with_what_differs(tmp_path: Path) -> None:
    run(ready(tmp_path / "x"), falling)
    run(ready(tmp_path / "plain", tune=None), falling)
    for given, said in (
        ({"tune": 5}, "holds another comparison: its tune.trials is 3, this one's 5."),
        ({"tune": {"trials": 3, "seed": 1}}, "its tune.seed is 0, this one's 1."),
        ({"tune": None}, "its tune.trials is 3, this one's not given (rows are not tuned)."),
        ({"tune": {"trials": 3, "spaces": {"sgd": {"lr": "log(1, 2)"}}}}, "holds another sweep: its space.lr is "),
        ({"training": {"batch_size": 8}}, "its training.batch_size is 128, this one's 8."),
    ):
        with pytest.raises(RunDirectoryError) as caught:
            ready(tmp_path / "x", **given)
        assert said in str(caught.value)
    with pytest.raises(RunDirectoryError, match=r"its tune.trials is not given \(rows are not tuned\), this one's 3"):
        ready(tmp_path / "plain")
    assert ready(tmp_path / "x", seeds=3).sweeps.keys() == {"adamw", "sgd"}, "more seeds are the same comparison"


def test_grng_sweep_into_the_row_is_the_same_sweep(tmp_path: Path) -> None:
    first = Fake(falling, stop_at=1)
    with pytest.raises(KeyboardInterrupt):
        run(ready(tmp_path / "x"), first)
    helper = Fake(falling)
    alone = {key: SMALL[key] for key in ("dataset", "model", "workers")}
    config = SweepConfig.model_validate(
        {
            **alone,
            "optimizer": "adamw",
            "trials": 3,
            "training": {"eval_every": 9},
            "output": tmp_path / "x/tuning/adamw",
        }
    )
    sweep(config, executor=InProcessExecutor(runner=helper))
    assert len(helper.done) == 2
    rest = Fake(falling)
    run(ready(tmp_path / "x"), rest)
    assert len(rest.done) == 3 + 4


def test_the_target_that_tuning_tells_is_the_median_of_the_references_best_trial(tmp_path: Path) -> None:
    scores = {1_000_000: 0.5, 1_000_001: 0.75, 1_000_002: 0.875}

    def score(config: Any) -> float:
        shift = 0.0 if config.optimizer.name == "adamw" else -0.25
        return scores.get(config.seed, 0.6) + shift

    given = {"tune": {"trials": 2, "tuning_seeds": 3}, "training": {"target": "tuned"}}
    runner = Fake(score)
    run(ready(tmp_path / "x", **given), runner)
    assert {config.training.target for config in runner.configs[:12]} == {0.9}, "trials keep the data set's"
    assert {config.training.target for config in runner.configs[12:]} == {0.75}
    tuned = tune(ready(tmp_path / "x", **given))
    (warning,) = target_warnings(tuned)
    assert warning == (
        "the target, 0.75 validation accuracy, is above what any trial had at its end (adamw 0.708, sgd 0.458): "
        "these rows may never reach it"
    )
    named = [{"name": "adamw", "sweep": tmp_path / "x/tuning/adamw", "label": "adamw"}, "sgd"]
    other = ready(tmp_path / "y", optimizers=named, tune=None, training={"target": "tuned"})
    assert other.config.training.target == 0.75, "a named sweep tells it, too"


def test_a_row_without_a_trial_that_finished_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(NothingFoundError, match="no trial of sgd finished") as caught:
        run(ready(tmp_path / "x"), lambda config: None if config.optimizer.name == "sgd" else 0.5)
    assert caught.value.exit_code == 1
    assert not (tmp_path / "x" / "adamw").exists()


def test_rows_with_a_sweep_are_recorded_and_not_tuned_again(tmp_path: Path) -> None:
    run(ready(tmp_path / "x", tune=5), falling)
    named = [{"name": "adamw", "sweep": str(tmp_path / "x/tuning/adamw"), "label": "earlier"}, "sgd"]
    runner = Fake(falling)
    run(ready(tmp_path / "y", optimizers=named), runner)
    assert {config.label for config in runner.configs[:3]} == {"sgd"}
    assert record_of(tmp_path / "y")["tuning"]["earlier"]["directory"] == str(tmp_path / "x/tuning/adamw")
    table = summarise(load_experiment(tmp_path / "y"))
    assert "NOT TUNED ALIKE: earlier 5 trials, sgd 3 trials; more trials flatter a row" in table.warnings
    assert [curve.trials for curve in table.curves.values()] == [5, 3]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (
            "tune: {trials: 2, spaces: {rnig: {lr: 'log(1, 2)'}}}",
            1,
            "(tune.spaces.rnig): no row that is tuned is 'rnig'",
        ),
        (
            "tune:\n  trials: 2\n  spaces:\n    sgd:\n      lrr: log(1, 2)\n",
            5,
            "sgd has no hyperparameter 'lrr'. Did you",
        ),
        ("tune:\n  trials: 2\n  spaces:\n    sgd:\n      lr: log(2, 1)\n", 5, "the lower bound 2 is not below"),
        (
            "tune:\n  trials: 2\n  spaces:\n    sgd:\n      training.warmup: int(0, 9)\n",
            5,
            "training.warmup cannot be searched here: all rows of a comparison share it.",
        ),
        ("optimizers:\n  - sgd\n  - timm:lion\ntune: 2\n", 3, "timm:lion has no declared search space, so timm:lion"),
        (
            "optimizers: [sgd, 'ring[lr=1,rho=1,weight_decay=0]']\ntune: 2\n",
            1,
            "nothing is left to search of ring[lr=1,",
        ),
        (
            "optimizers:\n  - {name: sgd, label: tuning}\ntune: 2\n",
            2,
            "cannot be called 'tuning': its sweeps are there.",
        ),
        ("tune: {trials: 2, sampler: grid}", 1, "a grid needs values, not ranges: lr: "),
        ("training: {target: tuned}", 1, "`tuned` needs a tuning of the reference adamw, and there is none."),
    ],
)
def test_what_cannot_be_tuned_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    loaded = load_config(CompareConfig, overrides=[("workers", 0, "--workers")], files=[path])
    with pytest.raises(GrngError) as caught:
        prepare(loaded.config, locate=loaded.locate)
    first = caught.value.problems[0] if isinstance(caught.value, ConfigError) else caught.value
    assert str(first).startswith(f"{path}:{line} (")
    assert said in str(first)
    assert "--trials" not in str(caught.value)
    assert "--space " not in str(caught.value)


def test_an_objective_with_a_target_needs_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from grng.experiments.sweeps import plan as sweep_plan

    monkeypatch.setattr(sweep_plan, "needs_target", lambda objective: True)
    monkeypatch.setattr("grng.runs.config._resolve_dataset", lambda config, model: (config.dataset, None, []))
    with pytest.raises(ConfigError, match="needs a validation accuracy to reach"):
        ready(
            tmp_path / "x",
            tune={"trials": 2, "objective": "steps-to-target"},
            dataset={"name": "digits", "img_size": 32},
        )


def test_a_budget_in_seconds_is_measured_for_the_defaults_and_for_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def step_seconds(config: Any) -> float:
        measured.append(config.optimizer.hyperparameters["lr"])
        return 0.01 if measured[-1] == 0.006 else 0.02

    monkeypatch.setattr("grng.training.calibrate.measure_step_seconds", step_seconds)
    given = {"optimizers": "adamw", "tune": 2, "training": {"seconds": 1.0}}
    runner = Fake(falling)
    run(ready(tmp_path / "x", **given), runner)
    assert [config.training.steps for config in runner.configs] == [100, 100, 50, 50]
    assert measured == [0.006, lowest(tmp_path / "x", "adamw")]
    record = record_of(tmp_path / "x")
    assert (record["tuning_calibrations"]["adamw"]["steps"], record["calibrations"]["adamw"]["steps"]) == (100, 50)
    again = Fake(falling)
    run(ready(tmp_path / "x", **given), again)
    assert (len(measured), again.done) == (2, [])


def test_a_number_of_trials_in_a_file_goes_with_flags_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("tune: 10\n")
    flags = [("tune.tuning_seeds", 2, "--tuning-seeds")]
    assert load_config(CompareConfig, files=[tmp_path / "mine.yaml"], overrides=flags).config.tune.settings == {
        "trials": 10,
        "sampler": "qmc",
        "objective": "accuracy",
        "tuning_seeds": 2,
        "seed": 0,
    }
    flags = [("tune.trials", 3, "--tune")]
    assert load_config(CompareConfig, files=[tmp_path / "mine.yaml"], overrides=flags).config.tune.trials == 3
