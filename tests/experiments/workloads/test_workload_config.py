from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grng.errors import ConfigError
from grng.experiments.compare_config import CompareConfig
from grng.experiments.plan import directory_of, identity, rows
from grng.experiments.workloads.compare import Workload, check_names, split
from grng.experiments.workloads.config import SHARED, WorkloadConfig
from grng.experiments.workloads.sources import settle_workloads
from grng.runs.loading import Loaded, dump_yaml, load_config
from grng.runs.shipped import find_config

HEAD = "optimizers: sgd\nseeds: 1\n"
THREE = """training: {steps: 7, batch_size: 32}
workloads:
  - {model: test_vit, dataset: mnist5k}
  - {model: test_resnet, dataset: mnist5k, training: {epochs: 5}}
  - {name: tiny, model: test_vit, dataset: {name: digits, img_size: 48}}
dataset: {img_size: 32}
"""


def loaded(tmp_path: Path, text: str, *flags: tuple[str, Any, str], smoke: bool = False) -> Loaded[CompareConfig]:
    path = tmp_path / "compare.yaml"
    path.write_text(HEAD + text)
    short = find_config("compare/smoke") if smoke else None
    files = [path] if short is None else [path, short]
    return load_config(
        CompareConfig, files=files, overrides=flags, adjust=lambda source: settle_workloads(source, smoke=short)
    )


def workloads(tmp_path: Path, text: str, *flags: tuple[str, Any, str], smoke: bool = False) -> list[Workload]:
    made = loaded(tmp_path, text, *flags, smoke=smoke)
    return split(made.config, locate=made.locate)


def named(found: list[Workload]) -> list[tuple[str, str]]:
    return [(one.config.model.name, one.config.dataset.name) for one in found]


def problems(call: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        call()
    return [str(problem) for problem in caught.value.problems]


def test_what_a_workload_does_not_say_is_the_comparisons(tmp_path: Path) -> None:
    first, second, third = workloads(tmp_path, THREE)
    assert [one.name for one in (first, second, third)] == ["test_vit-mnist5k", "test_resnet-mnist5k", "tiny"]
    lengths = [(one.config.training.epochs, one.config.training.steps) for one in (first, second, third)]
    assert lengths == [(None, 7), (5, None), (None, 7)], "another length replaces the comparison's"
    assert {one.config.training.batch_size for one in (first, second, third)} == {32}
    assert [one.config.dataset.img_size for one in (first, second, third)] == [32, 32, 48]
    assert [one.config.specs for one in (first, second)] == [third.config.specs] * 2


def test_all_pairs_of_models_and_data_sets(tmp_path: Path) -> None:
    text = "workloads: {models: [test_vit, {name: test_resnet, drop_path: 0.1}], datasets: [mnist5k, digits]}"
    found = workloads(tmp_path, text)
    assert named(found) == [(m, d) for m in ("test_vit", "test_resnet") for d in ("mnist5k", "digits")]
    assert [one.config.model.drop_path for one in found] == [None, None, 0.1, 0.1]
    commas = workloads(tmp_path, "", ("workloads.models", "test_vit, test_resnet", "--set workloads.models"),
                       ("workloads.datasets", "mnist5k,digits", "--set workloads.datasets"))  # fmt: skip
    assert named(commas) == named(found)


def test_comma_lists_of_flags_are_workloads(tmp_path: Path) -> None:
    text = "model: test_resnet\ndataset: {name: digits, img_size: 32}"
    found = workloads(tmp_path, text, ("model.name", "test_vit,test_resnet", "--model"))
    assert named(found) == [("test_vit", "digits"), ("test_resnet", "digits")]
    assert [one.config.dataset.img_size for one in found] == [32, 32], "what else the file says holds for all"
    found = workloads(tmp_path, "", ("dataset.name", "mnist5k,digits", "--dataset"))
    assert named(found) == [("test_resnet", "mnist5k"), ("test_resnet", "digits")]
    assert found[1].locate is not None
    assert found[1].locate(("dataset", "name")) == "--dataset"


def test_flags_win_over_what_a_workload_of_a_file_says(tmp_path: Path) -> None:
    flags = (("training.epochs", 1, "--epochs"), ("dataset.img_size", 64, "--img-size"))
    found = workloads(tmp_path, THREE, *flags)
    assert {(one.config.training.epochs, one.config.training.steps) for one in found} == {(1, None)}
    assert {one.config.dataset.img_size for one in found} == {64}
    smoke = workloads(tmp_path, THREE, smoke=True)
    assert named(smoke) == named(found), "the workloads stay"
    assert {(one.config.training.epochs, one.config.training.steps) for one in smoke} == {(None, 12)}


def test_one_workload_is_the_same_as_none(tmp_path: Path) -> None:
    (alone,) = workloads(tmp_path, "workloads: [{model: test_vit, dataset: digits, training: {steps: 3}}]")
    (plain,) = workloads(tmp_path, "model: test_vit\ndataset: digits\ntraining: {steps: 3}")
    assert alone.name is None
    configs = rows(alone.config)
    assert configs == rows(plain.config)
    assert identity(alone.config, configs) == identity(plain.config, configs)
    assert directory_of(alone.config, configs) == directory_of(plain.config, configs)


def test_the_dumped_config_is_complete_and_means_the_same(tmp_path: Path) -> None:
    made = loaded(tmp_path, THREE)
    text = dump_yaml(made.config)
    (tmp_path / "shown.yaml").write_text(text)
    again = load_config(CompareConfig, files=[tmp_path / "shown.yaml"]).config
    assert dump_yaml(again) == text
    for before, after in zip(split(made.config), split(again), strict=True):
        assert (before.name, rows(before.config)) == (after.name, rows(after.config))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("workloads: []", "3 (workloads)", "must not be empty."),
        ("workloads: {models: [a]}", "3 (workloads.datasets)", "is missing."),
        ("workloads: {models: [a], dataset: [b]}", "3 (workloads.dataset)", "unknown key 'dataset'. Did you mean"),
        ("workloads: {models: [], datasets: [b]}", "3 (workloads.models)", "must not be empty."),
        ("workloads:\n- {model: a, dataset: b}\n- {model: a}", "5 (workloads[1].dataset)", "is missing."),
        (
            "workloads:\n- {model: a, dataset: b}\n- {model: a, dataset: b}",
            "3 (workloads)",
            "there are two workloads 'a-b'; give one of them another name.",
        ),
        ("workloads: [{model: a, dataset: b, name: .x}]", "3 (workloads)", "the name '.x' begins with a dot"),
        ("workloads: [{model: a, dataset: b, name: x/y}]", "3 (workloads[0].name)", "must not contain a path sep"),
        ("workloads: [{model: a, dataset: b, seeds: 3}]", "3 (workloads[0].seeds)", "is the same on all workloads"),
        ("workloads: [{model: a, dataset: b, optimizers: x}]", "3 (workloads[0].optimizers)", "is the same on all"),
        ("workloads: [{model: a, dataset: b, training: {epoch: 1}}]", "3 (workloads[0].training.epoch)", "unknown"),
        ("model: c\nworkloads: [{model: a, dataset: b}]", "3 (model)", "a model for all and workloads exclude"),
        ("workloads: [{model: a, dataset: b}]\ndataset: {name: c}", "4 (dataset)", "a dataset for all and workl"),
        (
            "workloads: [{model: a, dataset: b, training: {epochs: 1, steps: 1}}]",
            "3 (workloads[0].training.steps)",
            "epochs and steps exclude each other",
        ),
        (
            "model: {linear_probe: true}\nworkloads: [{model: {name: a, lora: {}}, dataset: b}]",
            "4 (workloads)",
            "does not go with the comparison's own settings: lora and linear_probe exclude each other",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, line: str, message: str) -> None:
    (said,) = problems(lambda: loaded(tmp_path, text))
    assert said.startswith(f"{tmp_path}/compare.yaml:{line}: {message}")


def test_names_of_all_workloads_are_checked_at_once(tmp_path: Path) -> None:
    text = "workloads:\n  models: [test_vit, test_resnett]\n  datasets:\n  - digits\n  - mnist6k\n"
    said = problems(lambda: check_names(workloads(tmp_path, text)))
    assert len(said) == 4, "two of each, by workload"
    assert any(":4 (workloads[2].model.name): " in one and "Did you mean 'test_resnet'" in one for one in said)
    assert any(":7 (workloads[1].dataset.name): " in one and "'mnist5k'" in one for one in said)


def test_a_model_beside_a_files_workloads_is_refused(tmp_path: Path) -> None:
    (said,) = problems(lambda: loaded(tmp_path, THREE, ("model.name", "test_vit", "--model")))
    assert said.startswith("--model: a model for all and workloads exclude each other")


def test_what_is_shared_are_keys_of_a_comparison() -> None:
    assert set(SHARED) <= CompareConfig.model_fields.keys() - WorkloadConfig.model_fields.keys()
