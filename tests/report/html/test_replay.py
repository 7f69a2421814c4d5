from __future__ import annotations

import shlex
from pathlib import Path

import yaml

from grng.experiments.compare_config import CompareConfig
from grng.experiments.plan import plan
from grng.experiments.sweeps.config import SweepConfig
from grng.experiments.sweeps.plan import plan_sweep
from grng.experiments.sweeps.record import write_record
from grng.report.html.replay import replay_of, sweep_replay_of
from grng.report.load import load_experiment
from grng.runs.config import RunConfig, resolve
from grng.runs.identity import run_id
from grng.runs.loading import dump_yaml
from grng.runs.sections import DatasetConfig, ModelConfig, OptimizerConfig, TrainingConfig
from tests.report.factory import make_result, place, write_plan, write_run

CLAIM = {"claim": "ring.test_accuracy > adamw.test_accuracy", "name": None}
ROWS = {"adamw": {"lr": 0.002}, "ring[rho=0.1]": {"rho": 0.1}}


def experiment(root: Path, steps: dict[str, int]) -> dict[tuple[str, int], str]:
    """Write runs with real configurations; return the id of each."""
    write_plan(root, list(ROWS), [0, 4], reference="adamw", workers=1, claims=[CLAIM], margin=0.005)
    ids = {}
    for label, given in ROWS.items():
        for seed in (0, 4):
            config = resolve(
                RunConfig(
                    label=label,
                    seed=seed,
                    model=ModelConfig(name="test_vit"),
                    dataset=DatasetConfig(name="digits", img_size=32),
                    optimizer=OptimizerConfig(name=label.partition("[")[0], **given),
                    training=TrainingConfig(steps=steps[label], batch_size=16, eval_every=2),
                    output=place(root, label, seed),
                )
            )
            ids[label, seed] = run_id(config)
            directory = write_run(place(root, label, seed), make_result(label, seed, run_id=run_id(config)))
            (directory / "config.yaml").write_text(dump_yaml(config))
    return ids


def test_the_configurations_on_the_page_are_of_the_same_runs(tmp_path: Path) -> None:
    ids = experiment(tmp_path, {"adamw": 3, "ring[rho=0.1]": 3})
    replay = replay_of(load_experiment(tmp_path))
    files = {file.name: yaml.safe_load(file.text) for file in replay.files}
    assert shlex.split(replay.compare) == ["grng", "compare", "--config", "compare.yaml", "--output", "replay/compare"]
    compare = CompareConfig.model_validate(files["compare.yaml"])
    assert {(run.label, run.seed): run_id(run.config) for run in plan(compare)} == ids
    assert [one.claim for one in compare.claims] == [CLAIM["claim"]]
    assert (compare.margin, compare.chosen_reference) == (0.005, "adamw")
    assert compare.machine.threads == 1, "sums over other numbers of threads are rounded otherwise"
    trained = {}
    for line in replay.train:
        words = shlex.split(line)
        assert words[:2] == ["grng", "train"]
        config = RunConfig.model_validate({**files[words[3]], "seed": int(words[5])})
        trained[config.label, config.seed] = run_id(resolve(config))
        assert config.machine.threads == 1
    assert trained == ids


def test_what_was_measured_on_the_way_makes_no_other_runs(tmp_path: Path) -> None:
    ids = experiment(tmp_path, {"adamw": 3, "ring[rho=0.1]": 3})
    path = place(tmp_path, "adamw", 4) / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["diagnostics"] |= {"names": ["grad_norm"], "every": 1}
    path.write_text(yaml.safe_dump(config))
    replay = replay_of(load_experiment(tmp_path))
    assert [file.name for file in replay.files] == ["compare.yaml", "adamw.yaml", "ring[rho=0.1].yaml"]
    compare = CompareConfig.model_validate(yaml.safe_load(replay.files[0].text))
    assert {(run.label, run.seed): run_id(run.config) for run in plan(compare)} == ids
    assert compare.diagnostics.names == ["grad_norm"]


def test_rows_of_other_lengths_are_replayed_run_by_run(tmp_path: Path) -> None:
    experiment(tmp_path, {"adamw": 3, "ring[rho=0.1]": 5})
    replay = replay_of(load_experiment(tmp_path), prefix="workload2-")
    assert replay.compare == ""
    assert len(replay.train) == 4
    assert all(file.name.startswith("workload2-") for file in replay.files)


def test_without_configurations_there_is_nothing_to_replay(tmp_path: Path) -> None:
    experiment(tmp_path, {"adamw": 3, "ring[rho=0.1]": 3})
    for path in tmp_path.rglob("config.yaml"):
        path.write_text("[damaged")
    replay = replay_of(load_experiment(tmp_path))
    assert (replay.compare, replay.train, replay.files) == ("", (), ())


def test_the_sweep_on_the_page_is_the_same_sweep(tmp_path: Path) -> None:
    config = SweepConfig(
        optimizer=OptimizerConfig.model_validate({"name": "ring", "rho": 0.1}),
        space={"lr": "log(0.001, 1)", "damping": None},
        sampler="random",
        seed=3,
        model=ModelConfig(name="test_vit"),
        dataset=DatasetConfig(name="digits", img_size=32),
        training=TrainingConfig(steps=2, batch_size=16),
    )
    content = plan_sweep(config).described
    write_record(tmp_path, content)
    replay = sweep_replay_of(tmp_path, [make_result(), make_result(seed=1)], trials=7)
    assert replay is not None
    assert shlex.split(replay.compare) == ["grng", "sweep", "--config", "sweep.yaml", "--output", "replay/sweep"]
    (file,) = replay.files
    again = plan_sweep(SweepConfig.model_validate(yaml.safe_load(file.text)))
    assert again.described == content
    assert (again.config.trials, again.config.machine.threads) == (7, 1)
    assert sweep_replay_of(tmp_path / "gone", [], trials=7) is None
