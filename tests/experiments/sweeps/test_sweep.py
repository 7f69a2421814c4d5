"""Sweeps with runs that only compute their result: what is tried, kept, resumed, shared and chosen."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grng.errors import RunDirectoryError
from grng.experiments.pool.executor import InProcessExecutor
from grng.experiments.sweeps import record as sweep_record
from grng.experiments.sweeps import sweep as module
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.objectives import RunOutcome
from grng.experiments.sweeps.plan import PreparedSweep, prepare
from grng.experiments.sweeps.space_grammar import Real
from grng.experiments.sweeps.spaces import Space
from grng.experiments.sweeps.summary import Summary, importance, summarise
from grng.experiments.sweeps.sweep import sweep
from grng.experiments.sweeps.trials import Trial, TrialStore
from grng.report.sensitivity import make_map, read_points
from grng.runs.config import RunConfig
from grng.runs.loading import load_file
from grng.runs.result import Final, RunResult, Target
from tests.experiments.runners import Scored, result_of

Score = Callable[[RunConfig], float | None]


class Fake(Scored):
    """Reaches the target the sooner the better it is."""

    def result(self, config: RunConfig, directory: Path, accuracy: float | None) -> RunResult:
        result = result_of(config)
        if accuracy is None:
            return result.model_copy(update={"status": "diverged", "reason": "nan"})
        final = Final(val_accuracy=accuracy, val_loss=1 - accuracy, test_accuracy=1 - accuracy)
        step = None if accuracy < 0.5 else round(100 * (1 - accuracy))
        return result.model_copy(update={"final": final, "target": Target(accuracy=0.5, step=step, time_s=step)})


@pytest.fixture(autouse=True)
def _nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grng.experiments.preflight.check", lambda configs, **given: ())
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)


def prepared(output: Path, optimizer: str = "adamw", **given: Any) -> PreparedSweep:
    settings = {"optimizer": optimizer, "dataset": "digits", "model": "test_vit", "workers": 0, "trials": 6}
    return prepare(SweepConfig.model_validate({**settings, **given, "output": str(output)}))


def run(ready: PreparedSweep, score: Score | Fake, **given: Any) -> Summary:
    runner = score if isinstance(score, Fake) else Fake(score)
    return sweep(ready, executor=InProcessExecutor(runner=runner), **given)


def near(best: float) -> Score:
    """A validation accuracy that is highest where lr is `best`."""
    return lambda config: 1 / (1 + abs(math.log(config.optimizer.hyperparameters["lr"] / best)))


def test_the_best_trial_is_the_best_config(tmp_path: Path) -> None:
    summary = run(prepared(tmp_path / "x"), near(0.005))
    assert len(summary.trials) == 6
    rates = [trial.values["lr"] for trial in summary.trials]
    best = min(rates, key=lambda lr: abs(math.log(lr / 0.005)))
    assert summary.best is not None
    assert summary.best.values["lr"] == best
    config = load_file(tmp_path / "x" / "best.yaml")
    assert config.optimizer.hyperparameters["lr"] == best
    assert (config.seed, config.label, config.output) == (0, "adamw", None), "a seed that no trial has seen"
    document = json.loads((tmp_path / "x" / "sweep.json").read_text())
    assert document == json.loads(json.dumps(summary.document()))
    assert document["best"]["trial"] == summary.best.number
    assert [one["values"]["lr"] for one in document["trials"]] == rates
    best_so_far = [one["value"] for one in document["best_so_far"]]
    assert best_so_far == sorted(set(best_so_far))


def test_a_map_of_the_trials_is_in_the_summary_and_in_its_file(tmp_path: Path) -> None:
    space = {"lr": "choice(0.005, 0.025)", "weight_decay": "choice(0.0, 0.1)", "training.warmup": "int(0, 1)"}
    ready = prepared(tmp_path / "x", sampler="grid", space=space, trials=None, maps=["lr,weight_decay"])

    def score(config: RunConfig) -> float | None:
        lr, decay = (config.optimizer.hyperparameters[name] for name in ("lr", "weight_decay"))
        warmup = config.training.warmup
        if lr == 0.025 and (decay == 0.1 or warmup == 0):
            return None
        return float(0.9 - 10 * lr + 0.1 * decay + 0.02 * warmup)

    summary = run(ready, score)
    (one,) = summary.maps
    assert [column.title for column in one.columns()] == ["weight_decay \\ lr", "0.005", "0.025"]
    assert [column.cells for column in one.columns()[1:]] == [("0.860", "0.870*"), ("0.670 (1 div)", "div")]
    document = json.loads((tmp_path / "x" / "sweep.json").read_text())
    assert document["maps"] == json.loads(json.dumps([one.document()]))
    assert len(document["maps"][0]["points"]) == 8
    points = read_points(tmp_path / "x")
    assert make_map(points, "lr", "weight_decay") == one, "the file alone is enough"
    assert make_map(points, "training.warmup", "lr").cells[0][1].value == pytest.approx(0.875)


def test_test_data_has_no_part_in_it(tmp_path: Path) -> None:
    summary = run(prepared(tmp_path / "x"), near(0.005))
    assert "test" not in json.dumps(summary.document()["trials"])


def test_a_trial_is_the_mean_over_tuning_seeds(tmp_path: Path) -> None:
    runner = Fake(lambda config: 0.25 if config.seed == 1_000_000 else 0.75)
    summary = run(prepared(tmp_path / "x", trials=2, tuning_seeds=2), runner)
    assert [trial.value for trial in summary.trials] == [0.5, 0.5]
    assert [run.seed for run in summary.trials[0].runs] == [1_000_000, 1_000_001]
    assert runner.done[1] == tmp_path / "x" / "trials" / "0000" / "seed1000001"


@pytest.mark.parametrize(
    ("objective", "values"),
    [
        ("accuracy", [0.75, 0.25, 0.0]),
        ("loss", [0.25, 0.75, math.inf]),
        ("steps-to-target", [25.0, math.inf, math.inf]),
        ("time-to-target", [25.0, math.inf, math.inf]),
    ],
)
def test_objectives_and_the_worst_of_each(tmp_path: Path, objective: str, values: list[float]) -> None:
    scores = iter([0.75, 0.25, None])
    summary = run(prepared(tmp_path / "x", trials=3, objective=objective), lambda config: next(scores))
    assert [trial.value for trial in summary.trials] == values
    assert [trial.status for trial in summary.trials] == ["finished", "finished", "diverged"]
    assert [trial.number for trial in summary.ranked] == [0, 1, 2], "what never reached the target by its accuracy"
    assert summary.counts == {"finished": 2, "pruned": 0, "diverged": 1, "failed": 0, "running": 0}
    json.loads((tmp_path / "x" / "sweep.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_without_a_trial_that_finished_there_is_no_best(tmp_path: Path) -> None:
    summary = run(prepared(tmp_path / "x", trials=2), lambda config: None)
    assert summary.best is None
    assert summary.warnings == ["no trial finished, so there is no best one."]
    assert not (tmp_path / "x" / "best.yaml").exists()


@pytest.mark.parametrize("sampler", ["qmc", "random", "tpe"])
def test_a_sweep_that_is_cut_off_goes_on_as_if_it_had_not_been(tmp_path: Path, sampler: str) -> None:
    straight = run(prepared(tmp_path / "a", sampler=sampler, trials=8), near(0.005))
    ready = prepared(tmp_path / "b", sampler=sampler, trials=8)
    first = Fake(near(0.005), stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        run(ready, first)
    second = Fake(near(0.005))
    resumed = run(ready, second)
    assert resumed.trials == straight.trials
    assert len(first.done) == 3
    assert len(second.done) == 5, "what has a result is not done again"
    again = Fake(near(0.005))
    assert run(ready, again).trials == straight.trials
    assert not again.done


def test_more_trials_go_on_and_fewer_leave_what_is_there(tmp_path: Path) -> None:
    short = run(prepared(tmp_path / "x", trials=3), near(0.005))
    longer = run(prepared(tmp_path / "x", trials=5), near(0.005))
    assert longer.trials[:3] == short.trials
    assert len(longer.trials) == 5
    assert run(prepared(tmp_path / "x", trials=1), near(0.005)).trials == longer.trials


def test_rerun_does_all_again(tmp_path: Path) -> None:
    ready = prepared(tmp_path / "x", trials=3)
    before = run(ready, near(0.005))
    again = Fake(near(0.005))
    assert run(ready, again, rerun=True).trials == before.trials
    assert len(again.done) == 3


def test_a_trial_belongs_to_one_process_and_is_taken_up_when_that_is_gone(tmp_path: Path) -> None:
    ready = prepared(tmp_path / "x")
    (tmp_path / "x").mkdir()
    stores = [TrialStore(tmp_path / "x", ready.space, minimize=False) for _ in range(2)]
    taken = [stores[index % 2].take(5, ready.propose) for index in range(5)]
    found = [one for one in taken if one is not None]
    assert Counter(one.trial.number for one in found) == dict.fromkeys(range(5), 1)
    assert stores[0].take(5, ready.propose) is None
    assert stores[1].in_use()
    found[3].claim.release()  # as the operating system does when the process dies
    again = stores[0].take(5, ready.propose)
    assert again is not None
    assert (again.trial, again.resumed) == (found[3].trial, True)
    for one in (*found, again):
        one.claim.release()


def test_trials_that_others_left_are_finished_first(tmp_path: Path) -> None:
    ready = prepared(tmp_path / "x", trials=3)
    (tmp_path / "x").mkdir()
    left = TrialStore(tmp_path / "x", ready.space, minimize=False).take(3, ready.propose)
    assert left is not None
    left.claim.release()
    sweep_record.write_record(tmp_path / "x", sweep_record.described(ready.config, ready.space, ready.probe))
    summary = run(ready, near(0.005))
    assert [trial.status for trial in summary.trials] == ["finished"] * 3
    assert summary.trials[0].values == left.trial.values


def test_a_line_that_was_not_written_to_its_end_is_taken_off(tmp_path: Path) -> None:
    ready = prepared(tmp_path / "x", trials=4)
    with pytest.raises(KeyboardInterrupt):
        run(ready, Fake(near(0.005), stop_at=2))
    with (tmp_path / "x" / "trials.log").open("ab") as file:
        file.write(b'{"op_code":4,"worker')
    assert [trial.status for trial in run(ready, near(0.005)).trials] == ["finished"] * 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space": {"lr": "log(1e-3, 1)"}}, "its space.lr is log(0.001, 0.03), this one's log(0.001, 1)."),
        ({"space": {"eps": "log(1e-9, 1e-7)"}}, "its space.eps is not searched, this one's log(1e-09, 1e-07)"),
        ({"sampler": "random"}, "its sampler is qmc, this one's random."),
        ({"seed": 3}, "its seed is 0, this one's 3."),
        ({"training": {"batch_size": 8}}, "its training.batch_size is 128, this one's 8."),
        ({"optimizer": "sgd"}, "holds another sweep: its optimizer.name is adamw, this one's sgd"),
    ],
)
def test_another_sweeps_folder_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    run(prepared(tmp_path / "x", trials=1), near(0.005))
    with pytest.raises(RunDirectoryError) as caught:
        prepared(tmp_path / "x", **change)
    assert said in str(caught.value)
    assert prepared(tmp_path / "x", trials=2, machine={"threads": 1}, label="mine").total == 2, "no part of what it is"


def summary_of(ready: PreparedSweep, **values: float) -> Summary:
    """The summary of one trial with these values."""
    outcome = RunOutcome(1_000_000, "finished", val_accuracy=0.5)
    trial = Trial(0, values, 0.5, (outcome,))
    return summarise(ready.config, ready.space, ready.probe, ready.directory, [trial])


def test_a_best_value_at_the_edge_is_told_with_a_wider_range(tmp_path: Path) -> None:
    space = {"lr": "log(1e-3, 1e-2)", "momentum": "uniform(0.8, 0.98)", "weight_decay": "uniform(0, 1)"}
    ready = prepared(tmp_path / "x", "sgd", space={**space, "training.warmup": "int(5, 50)"})
    values = {"lr": 0.0095, "momentum": 0.979, "weight_decay": 0.01, "training.warmup": 6}
    summary = summary_of(ready, **values)
    wider = {edge.name: edge.wider for edge in summary.edges}
    assert wider.pop("lr") == "log(0.001, 0.1)"
    assert wider.pop("momentum") == "uniform(0.8, 0.991)", "as far as momentum may go"
    assert wider.pop("training.warmup") == "int(2, 50)"
    assert not wider, "a weight decay below 0 is none: the bound cannot be moved"
    assert "--space 'lr=log(0.001, 0.1)'" in summary.warnings[0]
    inside = {"lr": 0.003, "momentum": 0.9, "weight_decay": 0.5, "training.warmup": 20}
    assert not summary_of(ready, **inside).edges


def test_what_decides_is_important() -> None:
    space: Space = {"x": Real(0.0, 1.0, log=False), "y": Real(0.0, 1.0, log=False)}
    trials = [
        Trial(number, {"x": (number * 7 % 32) / 32, "y": (number * 11 % 32) / 32}, (number * 7 % 32) / 32, ())
        for number in range(32)
    ]
    shares = importance(space, trials, "accuracy")
    assert shares["x"] > 0.8
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert importance(space, trials[:4], "accuracy") == {}


def test_the_summary_takes_a_small_share_of_the_time_and_is_there_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = module._write_summary

    def slow(ready: PreparedSweep, store: TrialStore) -> Summary:
        written.append(sum(trial.ended for trial in store.trials()))
        time.sleep(0.02)
        return write(ready, store)

    monkeypatch.setattr(module, "_write_summary", slow)
    monkeypatch.setattr(module, "SUMMARY_SHARE", 1e-4)
    summary = run(prepared(tmp_path / "x"), near(0.005))
    assert written[0] == 1
    assert written[-1] == 6
    assert len(written) <= 3, "after the first trial, and when all have ended"
    assert json.loads((tmp_path / "x" / "sweep.json").read_text()) == json.loads(json.dumps(summary.document()))


def test_a_sweep_that_is_stopped_leaves_a_summary_of_what_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SUMMARY_SHARE", 1e-9)
    with pytest.raises(KeyboardInterrupt):
        run(prepared(tmp_path / "x"), Fake(near(0.005), stop_at=4))
    counts = json.loads((tmp_path / "x" / "sweep.json").read_text())["counts"]
    assert counts["finished"] == 4


def test_all_trials_are_taken_from_the_journal_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optuna.storages import JournalStorage

    run(prepared(tmp_path / "x", trials=5), near(0.005))
    asked: list[str] = []
    for name in ("get_all_trials", "get_trial"):
        real = getattr(JournalStorage, name)

        def told(self: Any, *given: Any, _name: str = name, _real: Any = real, **named: Any) -> Any:
            asked.append(_name)
            return _real(self, *given, **named)

        monkeypatch.setattr(JournalStorage, name, told)
    summary = run(prepared(tmp_path / "x", trials=9), near(0.005))
    assert [trial.number for trial in summary.trials] == list(range(9))
    assert asked.count("get_all_trials") == 1, "and those that run or are new one by one"
    assert asked.count("get_trial") < 4 * 12
    store = TrialStore(tmp_path / "x", prepared(tmp_path / "x").space, minimize=False)
    assert store.trials() == list(summary.trials), "as another process reads them"


def test_a_sweep_that_is_complete_builds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(prepared(tmp_path / "x"), near(0.005))

    def build(configs: Any, **given: Any) -> Any:
        raise AssertionError("nothing is to be trained")

    monkeypatch.setattr("grng.experiments.preflight.check", build)
    monkeypatch.setattr("grng.experiments.machine.started", build)
    again = prepared(tmp_path / "x")
    assert again.complete
    assert sweep(again).document() == first.document()
    with pytest.raises(AssertionError, match="nothing is to be trained"):
        prepared(tmp_path / "x", trials=7)
