from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from grng.errors import ConfigError
from grng.runs.config import RunConfig, resolve
from grng.runs.loading import Loaded, dump_yaml, json_schema, load_config, load_file
from grng.runs.schema import Section


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)  # so that messages show run.yaml, not a temporary folder's name

    def write(text: str | bytes, name: str = "run.yaml") -> Path:
        Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
        return Path(name)

    return write


def load(*files: Path, **options: Any) -> Loaded[RunConfig]:
    return load_config(RunConfig, files=files, **options)


def problems(*files: Path, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(*files, **options)
    return [str(problem) for problem in caught.value.problems]


# what is said about bad input, word by word


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimzer: ring\n", "run.yaml:1 (optimzer): unknown key 'optimzer'. Did you mean 'optimizer'?"),
        ("seed: 0\nepochs: 3\n", "run.yaml:2 (epochs): unknown key 'epochs'. Did you mean 'training.epochs'?"),
        (
            "logging:\n  log_every: 1\n  zoom: 3\n",
            (
                "run.yaml:3 (logging.zoom): unknown key 'zoom'. "
                "Allowed: log_every, checkpoint_every, checkpoint_seconds, tensorboard, tensorboard_points."
            ),
        ),
        ("training:\n  epochs: 0\n", "run.yaml:2 (training.epochs): must be at least 1, not 0."),
        ("training:\n  epochs: 2.5\n", "run.yaml:2 (training.epochs): must be a whole number, not 2.5."),
        ("training: {epochs: '3'}\n", "run.yaml:1 (training.epochs): must be a whole number, not the text '3'."),
        ("training: {epochs: true}\n", "run.yaml:1 (training.epochs): must be a whole number, not true."),
        ("training: 3\n", "run.yaml:1 (training): must be a mapping of keys to values, not 3."),
        ("training: {target: 1.5}\n", "run.yaml:1 (training.target): must be at most 1, not 1.5."),
        ("training: {target: .nan}\n", "run.yaml:1 (training.target): must be a finite number, not nan."),
        (
            "training:\n  schedule: cosin\n",
            (
                "run.yaml:2 (training.schedule): must be 'cosine', 'constant', 'linear' or 'step', not 'cosin'. "
                "Did you mean 'cosine'?"
            ),
        ),
        (
            "training:\n  epochs: 3\n  steps: 10\n",
            "run.yaml:3 (training.steps): epochs and steps exclude each other; give one.",
        ),
        ("optimizer:\n  name: ring\n  lr: .nan\n", "run.yaml:3 (optimizer.lr): must be a finite number, not nan."),
        ("optimizer:\n  name: ring\n  lr: nan\n", "run.yaml:3 (optimizer.lr): must be a finite number, not nan."),
        ("logging: {tensorboard: no}\n", "run.yaml:1 (logging.tensorboard): must be true or false, not the text 'no'."),
        ("label: a/b\n", "run.yaml:1 (label): must not contain a path separator (/ or \\)."),
        ("label: ''\n", "run.yaml:1 (label): must not be empty."),
        ("seed: -1\n", "run.yaml:1 (seed): must be at least 0, not -1."),
        (
            "- seed\n- 3\n",
            "run.yaml:1: the file must be a mapping of keys to values, not a list. Write keys like `optimizer: ring`.",
        ),
        (
            "ring\n",
            (
                "run.yaml:1: the file must be a mapping of keys to values, not a single value. "
                "Write keys like `optimizer: ring`."
            ),
        ),
        ("", "run.yaml: the file is empty. Write keys like `optimizer: ring`."),
        ("# nothing\n", "run.yaml: the file is empty. Write keys like `optimizer: ring`."),
        ("seed: 1\nmodel: [a\n", "run.yaml:3: is not valid YAML: expected ',' or ']', but got '<stream end>'."),
        ("seed: 1\n\tmodel: a\n", "run.yaml:2: is not valid YAML: found character '\\t' that cannot start any token."),
        ("seed: 1\nmodel: a\nseed: 2\n", "run.yaml:3: the key 'seed' is given twice, first in line 1."),
        ("seed: !!int '3'\n", "run.yaml:1: tags (!!int) are not allowed in configs. Write the value without it."),
        (
            "model: !!python/object/apply:os.system [ls]\n",
            (
                "run.yaml:1: tags (!!python/object/apply:os.system) are not allowed in configs. "
                "Write the value without it."
            ),
        ),
        (
            "model: &m {name: a}\ndataset: *m\n",
            "run.yaml:2: aliases (*m) are not allowed in configs. Write the value out.",
        ),
        ("1: 2\n", "run.yaml:1: keys must be text, not 1."),
        ("seed: 1\n---\nseed: 2\n", "run.yaml:2: the file holds a second document; one is allowed."),
        (b"\x80\x02}q\x00.", "run.yaml: the file is not text in UTF-8, so it is no config."),
        (b"seed: 1\x00\n", "run.yaml: the file is not text in UTF-8, so it is no config."),
        ("seed: " + "9" * 5000, "run.yaml:1: the number is too long."),
        ("model: " + "[" * 100 + "]" * 100, "run.yaml:1: is nested more than 32 levels deep."),
        ("#" * (1 << 20) + "\n", "run.yaml: the file is larger than 1 MiB, too large for a config."),
    ],
)
def test_wording(write: Any, text: str | bytes, message: str) -> None:
    assert problems(write(text)) == [message]


def test_missing_file_and_directory(write: Any, tmp_path: Path) -> None:
    assert problems(Path("none.yaml")) == ["none.yaml: there is no such file."]
    (tmp_path / "folder").mkdir()
    assert problems(Path("folder")) == ["folder: is a directory, not a config file."]


def test_all_problems_at_once_in_the_order_of_the_file(write: Any) -> None:
    path = write("seed: x\ntraining:\n  bach_size: 3\n  epochs: 0\nmodle: a\n")
    found = problems(path, overrides=[("training.warmup", -1, "--warmup")], sets=["a.b=1", "x"], opts=["lr=nan"])
    assert found == [
        "--set x: must have the form NAME=VALUE.",
        "run.yaml:1 (seed): must be a whole number, not the text 'x'.",
        "run.yaml:3 (training.bach_size): unknown key 'bach_size'. Did you mean 'batch_size'?",
        "run.yaml:4 (training.epochs): must be at least 1, not 0.",
        "run.yaml:5 (modle): unknown key 'modle'. Did you mean 'model'?",
        "--warmup: must be at least 0, not -1.",
        "--opt lr: must be a finite number, not nan.",
        (
            "--set a.b: unknown key 'a'. Allowed: label, seed, model, dataset, optimizer, training, augment, logging, "
            "diagnostics, machine, output."
        ),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opts": ["rho"]}, "--opt rho: must have the form NAME=VALUE."),
        ({"opts": ["=1"]}, "--opt =1: must have the form NAME=VALUE."),
        ({"opts": ["rho="]}, "--opt rho: has no value. Write rho=null for none."),
        ({"opts": ["rho=1", "rho=2"]}, "--opt rho: is given twice."),
        ({"opts": ["name=sgd"]}, "--opt name: is no hyperparameter. Give --optimizer NAME."),
        ({"opts": ["betas=[0.9"]}, "--opt betas: is not valid YAML: expected ',' or ']', but got '<stream end>'."),
        ({"sets": ["a..b=1"]}, "--set a..b=1: must have the form NAME=VALUE."),
        ({"sets": ["training.epochs=1", "training.epochs=1"]}, "--set training.epochs: is given twice."),
        (
            {"sets": ["training.epochs=1", "training=3"]},
            "--set training: sets a part of what --set training.epochs sets.",
        ),
        ({"sets": ["training.epochs=0"]}, "--set training.epochs: must be at least 1, not 0."),
        (
            {"overrides": [("training.epochs", 1, "--epochs"), ("training.steps", 1, "--steps")]},
            "--steps: epochs and steps exclude each other; give one.",
        ),
    ],
)
def test_wording_of_flags(options: dict[str, Any], message: str) -> None:
    assert problems(**options) == [message]


# what is understood


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        ("-2.5e+1", -25.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("012", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("null", None),
        ("~", None),
        ("no", "no"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("'1e-3'", "1e-3"),
        ("[0.9, 1e-1]", [0.9, 0.1]),
    ],
)
def test_scalars_of_yaml_1_2(write: Any, text: str, value: Any) -> None:
    in_file = load(write(f"optimizer:\n  name: ring\n  x: {text}\n")).config.optimizer.hyperparameters["x"]
    on_command_line = load(opts=[f"x={text}"]).config.optimizer.hyperparameters["x"]
    for found in (in_file, on_command_line):
        assert found == value
        assert type(found) is type(value)


def test_text_on_the_command_line_is_taken_whole() -> None:
    assert load(sets=["label=ring[rho=0.1] # 2"]).config.label == "ring[rho=0.1] # 2"


def test_byte_order_mark_and_windows_line_ends(write: Any) -> None:
    assert load(write(b"\xef\xbb\xbfseed: 3\r\nmodel: test_vit\r\n")).config.seed == 3


def test_sources_from_weak_to_strong(write: Any) -> None:
    first = write("seed: 1\ntraining: {batch_size: 1, warmup: 1, eval_every: 1}\n", "a.yaml")
    second = write("training: {warmup: 2, eval_every: 2}\n", "b.yaml")
    overrides = [("training.eval_every", 3, "--eval-every"), ("seed", 2, "--seed"), ("training.steps", None, "--steps")]
    config = load(first, second, overrides=overrides, sets=["seed=4"]).config
    training = config.training
    assert (config.seed, training.batch_size, training.warmup, training.eval_every) == (4, 1, 2, 3)
    assert training.epochs == 3


def test_a_stronger_length_replaces_the_weaker_one(write: Any) -> None:
    path = write("training: {steps: 10}\n")
    training = load(path, overrides=[("training.epochs", 2, "--epochs")]).config.training
    assert (training.epochs, training.steps) == (2, None)


def test_another_name_replaces_the_section_and_the_same_name_keeps_it(write: Any) -> None:
    path = write("optimizer: {name: ring, rho: 0.5}\n")
    other = load(path, overrides=[("optimizer.name", "sgd", "--optimizer")], opts=["lr=1"]).config.optimizer
    assert (other.name, other.hyperparameters) == ("sgd", {"lr": 1})
    same = load(path, overrides=[("optimizer.name", "ring", "--optimizer")], opts=["lr=1"]).config.optimizer
    assert (same.name, same.hyperparameters) == ("ring", {"rho": 0.5, "lr": 1})


def test_options_fit_a_bare_name(write: Any) -> None:
    optimizer = load(write("optimizer: reng\n"), opts=["rho=1"]).config.optimizer
    assert (optimizer.name, optimizer.hyperparameters) == ("reng", {"rho": 1})


def test_a_section_with_all_keys_commented_out(write: Any) -> None:
    assert load(write("training:\n#  epochs: 3\nseed: 1\n")).config == RunConfig(seed=1)


def test_places_survive_to_resolve(write: Any) -> None:
    path = write("model: test_vit\noptimizer:\n  name: ring\n  lr: 0.1\n  rho: -1\n")
    loaded = load(path)
    assert loaded.locate(("optimizer", "rho")) == "run.yaml:5 (optimizer.rho)"
    assert loaded.locate(("model", "name")) == "run.yaml:1 (model.name)"
    assert loaded.locate(("dataset", "name")) == "dataset.name"
    with pytest.raises(ConfigError) as caught:
        resolve(loaded.config, locate=loaded.locate)
    assert [problem.where for problem in caught.value.problems] == ["run.yaml:5 (optimizer.rho)"]
    with pytest.raises(ConfigError) as caught:
        resolve(load(opts=["rho=-1"]).config, locate=load(opts=["rho=-1"]).locate)
    assert [problem.where for problem in caught.value.problems] == ["--opt rho"]


def test_any_schema_of_sections_can_be_loaded(write: Any) -> None:
    class Pair(Section):
        first: RunConfig
        numbers: list[int] = [1]  # noqa: RUF012 - pydantic copies it

    path = write("first: {seed: 1}\nnumbers:\n  - 1\n  - x\n")
    with pytest.raises(ConfigError) as caught:
        load_config(Pair, files=[path])
    assert str(caught.value) == "run.yaml:4 (numbers[1]): must be a whole number, not the text 'x'."
    with pytest.raises(ConfigError) as caught:
        load_config(Pair)
    assert str(caught.value) == "first: is missing."
    with pytest.raises(ConfigError) as caught:
        load_config(Pair, sets=["first.training.epoch=1"])
    assert str(caught.value) == "--set first.training.epoch: unknown key 'epoch'. Did you mean 'epochs'?"


# what is written


def roundtrip(config: RunConfig, path: Path) -> RunConfig:
    path.write_text(dump_yaml(config), encoding="utf-8")
    return load_file(path)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"training": {"steps": 5}, "output": "runs/ä b"},
        {"optimizer": {"name": "x", "lr": 1e-12, "betas": [0.9, 1e22], "on": True, "off": None, "t": "1e-3"}},
        {"label": "no"},
        {"label": "ρ: [1]"},
        {"label": "2024-01-01"},
        {"model": {"kwargs": {"depths": [1, 2], "cfg": {"a": {"b": None}}}}},
    ],
)
def test_dumped_configs_load_back_equal(tmp_path: Path, values: dict[str, Any]) -> None:
    config = RunConfig.model_validate(values)
    assert roundtrip(config, tmp_path / "run.yaml") == config


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.text(min_size=1, max_size=6).filter(lambda key: key != "name"), plain, max_size=3))
def test_any_hyperparameters_load_back_equal(tmp_path: Path, values: dict[str, Any]) -> None:
    try:
        config = RunConfig.model_validate({"optimizer": {"name": "x", **values}})
        text = dump_yaml(config)
        text.encode("utf-8")
    except (ValueError, UnicodeEncodeError):
        reject()  # text such as "nan", or lone surrogates, that no config may hold
    back = roundtrip(config, tmp_path / "run.yaml")
    assert back == config
    assert dump_yaml(back) == text


def test_json_schema_takes_names_and_sections() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    name, section = schema["$defs"]["OptimizerConfig"]["anyOf"]
    assert name["type"] == "string"
    assert section["additionalProperties"] is not False
    assert schema["$defs"]["TrainingConfig"]["additionalProperties"] is False
    assert schema["$defs"]["TrainingConfig"]["properties"]["batch_size"]["description"] == "Images per step."
