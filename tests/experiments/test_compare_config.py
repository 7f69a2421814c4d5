from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grng.errors import ConfigError, GrngError
from grng.experiments.compare_config import CompareConfig
from grng.runs.loading import dump_yaml, load_config


def load(**given: Any) -> CompareConfig:
    return load_config(CompareConfig, overrides=[(key, value, f"--{key}") for key, value in given.items()]).config


def from_yaml(tmp_path: Path, text: str) -> CompareConfig:
    path = tmp_path / "compare.yaml"
    path.write_text(text)
    return load_config(CompareConfig, files=[path]).config


def problems(call: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        call()
    return [str(problem) for problem in caught.value.problems]


def test_the_main_job_is_the_default() -> None:
    config = CompareConfig()
    assert [spec.label for spec in config.specs] == ["sgd", "adamw", "kfac", "sophia-g", "ring", "reng", "r-kalman"]
    assert config.seeds == [0, 1, 2]
    assert (config.training.epochs, config.training.steps, config.training.seconds) == (3, None, None)
    assert config.training.eval_every == 9
    assert (config.model.name, config.dataset.name) == ("test_resnet", "mnist5k")
    assert config.chosen_reference == "adamw"


def test_optimizers_as_text_as_list_and_as_mappings_are_one_thing(tmp_path: Path) -> None:
    text = load(optimizers="adamw,ring[rho=0.1]")
    listed = from_yaml(tmp_path, "optimizers: [adamw, 'ring[rho=0.1]']")
    mapped = from_yaml(tmp_path, "optimizers:\n  - name: adamw\n  - {name: ring, rho: 0.1}\n")
    assert text.specs == listed.specs == mapped.specs
    assert from_yaml(tmp_path, "optimizers: adamw,ring[rho=0.1]").specs == text.specs


def test_a_label_may_be_given(tmp_path: Path) -> None:
    config = from_yaml(tmp_path, "optimizers:\n  - adamw\n  - {name: adamw, lr: 1e-2, label: 'adamw, fast'}")
    assert [spec.label for spec in config.specs] == ["adamw", "adamw, fast"]
    assert config.specs[1].hyperparameters == {"lr": 0.01}


def test_the_dumped_config_loads_as_the_same(tmp_path: Path) -> None:
    config = load(optimizers="adamw,ring[rho=0.1,damping=1e-2]", seeds="3,5")
    assert from_yaml(tmp_path, dump_yaml(config)) == config


@pytest.mark.parametrize(
    ("given", "seeds"), [(2, [0, 1]), ("2", [0, 1]), ("4,7", [4, 7]), ("4, 7", [4, 7]), ([4, 7], [4, 7]), ("5,", [5])]
)
def test_seeds_are_a_number_of_them_or_a_list(given: Any, seeds: list[int]) -> None:
    assert load(seeds=given).seeds == seeds


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0, "--seeds: must be a number of seeds from 1 to 10000, or a list of seeds, not 0."),
        (-2, "--seeds: must be a number of seeds from 1 to 10000, or a list of seeds, not -2."),
        ("x", "--seeds: must be a number of seeds from 1 to 10000, or a list of seeds, not 'x'."),
        ("1,x", "--seeds: must be a number of seeds from 1 to 10000, or a list of seeds, not '1,x'."),
        ("1,1", "--seeds: seed 1 is there twice."),
        ([], "--seeds: must not be empty."),
        ([-1], "--seeds: must be at least 0, not -1."),
    ],
)
def test_other_seeds_are_refused(given: Any, message: str) -> None:
    assert problems(lambda: load(seeds=given)) == [message]


def test_two_rows_of_one_label_are_refused() -> None:
    assert problems(lambda: load(optimizers="ring,adamw,ring")) == [
        "--optimizers: 'ring' is there twice; give one of them another label or other hyperparameters."
    ]
    assert len(load(optimizers="ring,ring[rho=0.01]").specs) == 2


def test_what_does_not_parse_is_told_with_its_place(tmp_path: Path) -> None:
    (said,) = problems(lambda: from_yaml(tmp_path, "seeds: 1\noptimizers:\n  - adamw\n  - ring[rho\n"))
    assert said.startswith(f"{tmp_path}/compare.yaml:4 (optimizers[1]): a bracket is not closed in 'ring[rho'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {epochs: 3, seconds: 5}", "epochs and seconds exclude each other; give one."),
        ("training: {steps: 3, seconds: 5}", "steps and seconds exclude each other; give one."),
        ("training: {steps: 3, epochs: 5}", "epochs and steps exclude each other; give one."),
        ("training: {seconds: 0}", "must be greater than 0, not 0."),
        ("optimisers: [ring]", "unknown key 'optimisers'. Did you mean 'optimizers'?"),
        ("optimizers: []", "must not be empty."),
        ("workers: -1", "must be at least 0, not -1."),
    ],
)
def test_other_bad_values(tmp_path: Path, text: str, message: str) -> None:
    (said,) = problems(lambda: from_yaml(tmp_path, text))
    assert said.partition("): ")[2] == message


def test_a_stronger_budget_replaces_the_other(tmp_path: Path) -> None:
    path = tmp_path / "compare.yaml"
    path.write_text("training: {epochs: 3}")
    config = load_config(CompareConfig, files=[path], overrides=[("training.seconds", 2.0, "--seconds")]).config
    assert (config.training.epochs, config.training.seconds) == (None, 2.0)


def test_the_reference() -> None:
    assert load(optimizers="ring,sgd").chosen_reference == "ring", "without adamw the first"
    assert load(optimizers="ring,sgd", reference="sgd").chosen_reference == "sgd"
    with pytest.raises(GrngError) as caught:
        _ = load(optimizers="ring[rho=1],sgd", reference="rign[rho=1]").chosen_reference
    assert str(caught.value) == (
        "--reference: the reference 'rign[rho=1]' does not take part. Did you mean 'ring[rho=1]'?"
    )
    with pytest.raises(GrngError, match=r"Taking part: ring, sgd\."):
        _ = load(optimizers="ring,sgd", reference="adamw").chosen_reference
