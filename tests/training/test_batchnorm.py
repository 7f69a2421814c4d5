"""BatchNorm of several processes: when it becomes torch's SyncBatchNorm, and what is said where it does not."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from grng.errors import GrngError
from grng.models.freezing import freeze, set_training_mode
from grng.runs.launched import Place
from grng.training.batchnorm import batchnorm_together
from grng.training.distributed import ALONE, World
from tests.training.helpers import difference

TWO = World(Place(0, 2, 0, 2))
CPU, GPU = torch.device("cpu"), torch.device("cuda")  # a name: nothing is put there
PLAIN: dict[str, Any] = {"wanted": "auto", "differentiates_twice": False, "diagnosed": False}
OWN = "BatchNorm normalises by each process's own samples"


def residual() -> nn.Module:
    model: nn.Module = timm.create_model("test_resnet", in_chans=1, num_classes=10)
    return model


def kinds(model: nn.Module) -> list[str]:
    return [type(module).__name__ for module in model.modules() if "BatchNorm" in type(module).__name__]


@pytest.mark.parametrize("wanted", ["auto", True])
@pytest.mark.parametrize("name", ["test_resnet", "efficientnet_b0"])  # with norms of torch's, and of timm's
def test_on_gpus_it_is_the_same_model_with_other_norms(name: str, wanted: Any) -> None:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, in_chans=1, num_classes=10)
    count = len(kinds(model))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images = torch.randn(4, 1, 32, 32)
    expected = model.eval()(images)
    set_training_mode(model)
    parameters = list(model.parameters())
    converted, warning = batchnorm_together(model, TWO, GPU, **{**PLAIN, "wanted": wanted})
    assert warning is None
    assert len(kinds(converted)) == count > 0
    assert all(kind.startswith("SyncBatchNorm") for kind in kinds(converted))
    assert difference(before, dict(converted.state_dict())) is None
    assert all(one is other for one, other in zip(parameters, converted.parameters(), strict=True))
    assert all(module.training for module in converted.modules())
    assert torch.equal(converted.eval()(images), expected)


def test_frozen_norms_stay_in_evaluation_mode_when_the_others_are_converted() -> None:
    model = residual()
    freeze(model, ["conv1.*", "bn1.*"])
    set_training_mode(model)
    modes = [module.training for module in model.modules() if "BatchNorm" in type(module).__name__]
    converted, _ = batchnorm_together(model, TWO, GPU, **PLAIN)
    after = [module.training for module in converted.modules() if "BatchNorm" in type(module).__name__]
    assert modes == after
    assert set(after) == {False, True}


REASONS: list[tuple[torch.device, dict[str, Any], str]] = [
    (CPU, {}, "torch's SyncBatchNorm does not run on cpu"),
    (
        GPU,
        {"differentiates_twice": True},
        "torch's SyncBatchNorm has no second derivative, which the optimizer needs",
    ),
    (
        GPU,
        {"diagnosed": True},
        "diagnostics are measured by one process, which cannot run torch's SyncBatchNorm alone",
    ),
]


@pytest.mark.parametrize(("device", "changed", "why"), REASONS)
def test_where_it_is_not_to_be_had_one_sentence_says_why(device: torch.device, changed: Any, why: str) -> None:
    model = residual()
    before = kinds(model)
    same, warning = batchnorm_together(model, TWO, device, **{**PLAIN, **changed})
    assert same is model
    assert kinds(model) == before
    assert warning == f"{OWN} ({why}); the running statistics are the first process's."
    with pytest.raises(GrngError) as caught:
        batchnorm_together(model, TWO, device, **{**PLAIN, **changed, "wanted": True})
    assert str(caught.value) == (
        f"machine.sync_batchnorm: {why}. Leave it out: each process then uses its own statistics."
    )
    assert kinds(model) == before


def test_where_it_is_not_wanted_no_reason_is_given() -> None:
    model = residual()
    same, warning = batchnorm_together(model, TWO, GPU, **{**PLAIN, "wanted": False})
    assert same is model
    assert warning == f"{OWN}; the running statistics are the first process's."


@pytest.mark.parametrize("wanted", ["auto", True, False])
def test_without_norms_or_company_there_is_nothing_to_say(wanted: Any) -> None:
    given = {**PLAIN, "wanted": wanted}
    plain = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    assert batchnorm_together(plain, TWO, CPU, **given) == (plain, None)
    model = residual()
    assert batchnorm_together(model, ALONE, GPU, **given) == (model, None)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert batchnorm_together(model, TWO, CPU, **given) == (model, None), "frozen ones do not measure"
