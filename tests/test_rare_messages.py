"""Messages of what rarely happens: no command line of a test gets there, so that what raises them is called itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from grng import create_optimizer
from grng.errors import GrngError, RunDirectoryError, UnknownNameError


def observed(outputs: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
    """Observe what `outputs` makes of a layer and a batch."""
    model = nn.Linear(3, 2)
    create_optimizer("ring", model).observe(outputs(model, torch.ones(4, 3)), torch.zeros(4).long())  # type: ignore[attr-defined]


def test_outputs_without_a_graph() -> None:
    with pytest.raises(GrngError, match=r"observe got outputs without a graph.*not detached and not under no_grad"):
        observed(lambda model, batch: model(batch).detach())


def test_gradients_without_a_graph() -> None:
    model = nn.Linear(3, 2)
    optimizer: Any = create_optimizer("gr-sgd", model, rho=0.1)
    F.cross_entropy(model(torch.ones(4, 3)), torch.zeros(4).long()).backward()
    with pytest.raises(GrngError, match="the gradients carry no graph for the Hessian-vector product"):
        optimizer.step()


def test_float16_gradients_under_a_scaler() -> None:
    from grng.optim.loss_scale import unscale_gradients

    parameter = nn.Parameter(torch.ones(2, dtype=torch.float16))
    parameter.grad = torch.ones(2, dtype=torch.float16)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(2.0), torch.tensor(0.0)  # type: ignore[attr-defined]
    with pytest.raises(GrngError, match=r"a GradScaler cannot unscale float16 gradients.*weights in float32"):
        unscale_gradients(optimizer)


def test_an_unknown_optimizer_of_timm() -> None:
    from grng.optimizers import check_optimizer_name

    with pytest.raises(UnknownNameError, match=r"unknown timm optimizer 'timm:lamp'\. Did you mean 'timm:lamb'"):
        check_optimizer_name("timm:lamp")


@pytest.mark.parametrize(("text", "told"), [("bad\nmore", "RuntimeError: bad"), ("", "RuntimeError")])
def test_a_model_that_cannot_be_compiled(text: str, told: str) -> None:
    from grng.training.warmup import _cannot_compile

    error = _cannot_compile(RuntimeError(text))
    assert error.message == f"torch.compile could not compile the model: {told}."
    assert error.hint == "Leave out machine.compile (--compile)."


def test_a_process_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    from grng.training import distributed
    from grng.training.errors import ProcessLost

    monkeypatch.setattr(distributed, "_of_a_backend", lambda error: True)
    world = distributed.World(store=SimpleNamespace(check=lambda keys: False))
    cause = world.cause(RuntimeError("connection closed"), Path("run"))
    assert isinstance(cause, ProcessLost)
    assert str(cause).startswith("run: another process of this run ended without a word. The same command goes on")


def test_fewer_gpus_than_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    from grng.training import distributed

    monkeypatch.setattr(distributed, "resolve_device", lambda name: torch.device("cuda"))
    for there, told in ((1, "there is 1"), (3, "there are 3")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda n=there: n)
        with pytest.raises(GrngError, match=f"4 processes need as many GPUs, and {told}.*--device cpu"):
            distributed.check_devices("cuda", 4)


def test_what_timm_cannot_build(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    from grng.models import create_model

    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("patches do not fit")

    monkeypatch.setattr(timm, "create_model", broken)
    with pytest.raises(GrngError, match="timm could not build test_vit for images of 32×32 pixels: patches do not fit"):
        create_model("test_vit", channels=1, num_classes=2, img_size=32)


def test_weights_that_change_while_they_are_read(tmp_path: Path) -> None:
    from grng.models import create_model, prepare_model

    model = create_model("test_vit", channels=1, num_classes=2, img_size=32)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(GrngError, match=r"weights\.pt has changed while it was read"):
        prepare_model(
            "test_vit", channels=1, num_classes=2, img_size=32, weights=tmp_path / "weights.pt", weights_sha256="0" * 64
        )


def test_what_peft_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    import peft

    from grng.models import prepare_model

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ValueError("the rank\n does not fit")

    monkeypatch.setattr(peft, "inject_adapter_in_model", refuse)
    lora = {"r": 2, "alpha": 2, "target": ("qkv",), "dropout": 0.0}
    with pytest.raises(GrngError, match="peft refuses: the rank does not fit"):
        prepare_model("test_vit", channels=1, num_classes=2, img_size=32, lora=lora)


def test_records_that_cannot_be_read(tmp_path: Path) -> None:
    from grng.experiments.record import read_record
    from grng.experiments.sweeps.record import check_folder

    (tmp_path / "experiment.yaml").write_text("optimizers: 3")
    with pytest.raises(RunDirectoryError, match="that this grng can read"):
        read_record(tmp_path)
    (tmp_path / "sweep.yaml").write_text("[")
    with pytest.raises(RunDirectoryError, match=re.escape("sweep.yaml: is no sweep.yaml.")):
        check_folder(tmp_path, {})


def test_spaces_and_rows_of_a_form_that_there_is_not() -> None:
    from grng.experiments.specs import parse_spec
    from grng.experiments.sweeps.space_grammar import _choice

    with pytest.raises(GrngError, match="a mapping cannot be chosen"):
        _choice([{"a": 1}], "space.lr")
    with pytest.raises(GrngError, match="'sgd,adamw' names more than one optimizer"):
        parse_spec("sgd,adamw")


def test_trials_that_another_process_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from contextlib import nullcontext

    from grng.experiments.sweeps import sweep

    busy = SimpleNamespace(locked=nullcontext, in_use=lambda: True)
    monkeypatch.setattr(sweep, "_store", lambda prepared: busy)
    prepared: Any = SimpleNamespace(directory=tmp_path)
    with pytest.raises(RunDirectoryError, match=r"another process is sweeping here\. Wait for it, stop it"):
        sweep._start_over(prepared)


def test_streams_that_hold_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from grng.data import streams

    with pytest.raises(GrngError, match="wds/x has a split without pictures"):
        streams._read([], lambda image: None, None, "wds/x")  # type: ignore[arg-type, return-value]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    monkeypatch.setattr(streams, "_open", lambda *args, **kwargs: None)
    settings: Any = {"download": False, "unlimited": False, "input_key": None, "target_key": None}
    with pytest.raises(GrngError, match=r"wds/x in .* has no training split that timm finds"):
        streams.open_stream("wds/x", tmp_path, to_array=np.asarray, **settings)


def test_data_sets_without_training_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    from grng.data import hf_sets, opening

    with pytest.raises(GrngError, match="hfds/x has no split train, only test, other"):
        hf_sets._splits({"test": 1, "other": 2}, "x")
    source = SimpleNamespace(pools={"train": SimpleNamespace(labels=[])}, classes=("a", "b"))
    monkeypatch.setattr(opening, "_open", lambda *args: source)
    request: Any = SimpleNamespace(name="folder")
    with pytest.raises(GrngError, match="folder has no training pictures"):
        opening.open_source(request)


def test_a_set_of_hugging_face_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    from grng.data import hf_sets

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ValueError("no data\n files.")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(GrngError, match="cannot be loaded: no data files"):
        hf_sets._loaded(datasets, str(tmp_path), None, download=False)


def test_characters_that_yaml_does_not_allow() -> None:
    from grng.runs.yaml_text import _events

    (problem,) = _events("seed: \x07", "--set seed")
    assert str(problem) == "--set seed: holds a character that YAML does not allow."
