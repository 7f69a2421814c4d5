"""Two gloo processes equal one process on the joined batch, for every optimizer of the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from grng.errors import GrngError
from grng.optim import blocks, processes, sharing
from grng.optim.processes import Processes
from grng.optim.registry import REGISTRY
from grng.optimizers import create_optimizer
from tests.optim.test_contract import WHOLE_BATCH
from tests.oracles.joint_training import NETS, WORLD, Case, counted_messages, in_process, take_joint_step, train
from tests.oracles.nets import class_batch, mlp, take_step

EXACT = {"damping_form": "exact", "damping": 1e-3}
LITERAL = {
    **EXACT,
    "norm_scope": "global",
    "norm_ema": 0.0,
    "step_norm": "none",
    "momentum_form": "step",
    "other_parameters": "diagonal",
    "kl_clip": 0.01,
}
OFTEN = {"curvature_interval": 1, "inverse_interval": 2}
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "kfac, exact Fisher": ("kfac", {"fisher": "exact", "other_parameters": "diagonal"}),
    "kfac, empirical Fisher": ("kfac", {"fisher": "empirical", "other_parameters": "diagonal"}),
    "kfac, reduce, Newton": ("kfac", {"weight_sharing": "reduce", "inverse": "newton"}),
    "kfac, corrected": ("kfac", {**EXACT, **OFTEN, "eigenvalue_correction": True}),
    "ring, literal": ("ring", LITERAL),
    "ring, corrected": ("ring", {**EXACT, **OFTEN, "eigenvalue_correction": True, "other_parameters": "diagonal"}),
    "reng, finite difference": ("reng", {"hvp": "finite_difference", "rho": 0.1}),
    "reng, every second step": ("reng", {"regularize_every": 2, "rho": 0.1}),
    "reng, corrected": ("reng", {**EXACT, **OFTEN, "eigenvalue_correction": True, "rho": 0.1}),
    "gr-sgd, finite difference": ("gr-sgd", {"hvp": "finite_difference", "rho": 0.1}),
    "gr-adamw, after a step": ("gr-adamw", {"rho_warmup_steps": 1, "rho": 0.1}),
    "sophia-g, every step": ("sophia-g", {"hessian_interval": 1}),
    "sophia-h, every second step": ("sophia-h", {"hessian_interval": 2}),
    # a share of every part is not that share of the joined batch
    "r-kalman": ("r-kalman", {"curvature_batch": 1.0}),
    "r-kalman, loss": ("r-kalman", {"observation": "loss"}),
    "r-kalman, information": (
        "r-kalman",
        {"observation": "loss", "update": "information", "momentum": 0.9, "initial_covariance": 1e-3},
    ),
    "r-kalman, block": ("r-kalman", {"observation": "loss", "covariance": "block", "rho": 0.1}),
    "r-kalman, samples": ("r-kalman", {"filter_scope": "global", "rows": 4, "momentum": 0.5}),
    "r-kalman, a row a sample": ("r-kalman", {"filter_scope": "global", "rows": 64, "update": "information"}),
    "r-kalman, outputs": ("r-kalman", {"observation": "outputs"}),
    "r-kalman, outputs, information": ("r-kalman", {"observation": "outputs", "update": "information"}),
    "r-kalman, layer": ("r-kalman", {"rows": 4, "memory": 3, "curvature_batch": 1.0}),
}
ALL: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in REGISTRY} | SETTINGS
# a share of the batch is a share of every process's part: other samples than that share of the joined batch
LAYERWISE = ("kfac", "ring", "reng")
ALL |= {name: (of, WHOLE_BATCH | given) for name, (of, given) in ALL.items() if of in LAYERWISE}
# Unequal parts cut at other places than the joined batch would be; one row a sample needs no cut.
CUT_BY_SAMPLE = {"r-kalman", "r-kalman, samples", "r-kalman, layer"}

CASES: dict[str, Case] = {}
for _name, _of in ALL.items():
    # few samples leave eigenspaces in which rounding decides; K-FAC itself is as sensitive to the order of the samples
    CASES[_name] = Case(*_of, sizes=((16, 16),) if "corrected" in _name else ((4, 4),))
    CASES[f"{_name}; accumulated"] = Case(
        *_of, net="mlp", sizes=((4, 4) if _name in CUT_BY_SAMPLE else (5, 3), (4, 4)), given="wrapper"
    )
CASES["r-kalman, two rows; accumulated"] = Case(
    "r-kalman", {"filter_scope": "global", "rows": 2}, net="mlp", sizes=((4, 2), (4, 2))
)
for _name, _share in (("r-kalman; an eighth of every part", {}), ("r-kalman; half", {"curvature_batch": 0.5})):
    CASES[_name] = Case("r-kalman", _share, sizes=((5, 3), (4, 4)), joined=False)
KALMANS = ("r-kalman", "r-kalman, loss", "r-kalman, samples")
for _name in ("kfac", "ring", "reng", "gr-adamw", "sam", "sophia-g", "sophia-h", *KALMANS):
    CASES[f"{_name}; attention"] = Case(*ALL[_name], net="attention", given="wrapper")
for _name in (
    "kfac, exact Fisher",
    "kfac, corrected",
    "ring, literal",
    "reng",
    "gr-sgd",
    "gr-sgd, finite difference",
    "sam",
    "sophia-g",
    "sophia-h",
    "r-kalman, loss",
    "r-kalman, information",
    "r-kalman, samples",
    "r-kalman, outputs",
    "r-kalman, layer",
):
    CASES[f"{_name}; unused layers"] = Case(
        *ALL[_name], net="branch", ddp={"find_unused_parameters": True}, joined=False
    )
for _name in LAYERWISE:  # by default: a quarter of every part, in the first and in the last step
    CASES[f"{_name}; a share of every part"] = Case(_name, sizes=((5, 3),), steps=5, joined=False)
for _name in ("ring", "reng", "reng, finite difference", "gr-sgd", "gr-sgd, finite difference", "sam", "sophia-h"):
    CASES[f"{_name}; gradients in the bucket"] = Case(*ALL[_name], ddp={"gradient_as_bucket_view": True})
for _name in ("kfac", "sophia-g", "gr-adamw, after a step", "r-kalman, information", "r-kalman, outputs"):
    CASES[f"{_name}; static graph"] = Case(*ALL[_name], ddp={"static_graph": True}, given="wrapper")


# --- what else the two processes do


early: dict[str, Any] = {}
ALONE: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in REGISTRY}
ALONE["r-kalman, loss"] = SETTINGS["r-kalman, loss"]


def make_early(rank: int) -> None:
    """Make an optimizer while there is no process group yet."""
    early["model"] = mlp()
    early["optimizer"] = create_optimizer("ring", early["model"], seed=3, **WHOLE_BATCH)


def train_early(rank: int) -> list[Tensor]:
    wrapper = DistributedDataParallel(early["model"])
    case = Case("ring", net="mlp")
    for step in range(2):
        early["optimizer"].zero_grad()
        take_joint_step(wrapper, wrapper, early["optimizer"], case.dealt(step, rank), 8)
    return [p.detach() for p in early["model"].parameters()]


def train_alone(rank: int) -> dict[str, Any]:
    """Every process trains a model of its own, by each of the two ways to say so."""
    alone = [distributed.new_group([other]) for other in range(WORLD)]
    found: dict[str, Any] = {}
    with counted_messages() as sent:
        for name, (kind, given) in ALONE.items():
            for way in ("synchronise", "process_group"):
                model = mlp()
                optimizer: Any = create_optimizer(kind, model, seed=3, **given)
                setattr(optimizer, way, {"synchronise": False, "process_group": alone[rank]}[way])
                for step in range(2):
                    take_step(model, optimizer, *class_batch(seed=10 * rank + step))
                found[f"{name}; {way}"] = [p.detach() for p in model.parameters()]
    return {"models": found, "messages": len(sent)}


def count_messages(rank: int) -> dict[str, list[int]]:
    """The optimizer's own messages of one step of the deepest net here."""
    found = {}
    for name in ("kfac, exact Fisher", "ring, corrected", "reng", "sgd", "r-kalman", "r-kalman, loss"):
        model = mlp(sizes=(5, *[6] * 20, 4))
        wrapper = DistributedDataParallel(model)
        optimizer: Any = create_optimizer(ALL[name][0], model, **ALL[name][1])
        with counted_messages() as sent:
            take_joint_step(wrapper, wrapper, optimizer, Case("", net="mlp").dealt(0, rank), 8)
        found[name] = list(sent)
    return found


def sum_in_buckets(rank: int) -> list[Tensor]:
    """Tensors of several types, sizes and memory formats, in messages of ten entries."""
    processes.BUCKET = 10
    pictures = torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    tensors = [
        torch.ones(4),
        torch.ones(3, dtype=torch.float64),
        torch.ones(7),
        pictures,
        torch.ones(()),
        torch.ones(0),
    ]
    with counted_messages() as sent:
        found = Processes(None, torch.device("cpu")).summed([tensor * (rank + 1) for tensor in tensors])
    processes.BUCKET = 2**22
    return [*found, torch.tensor(sent)]


def step_on_nonsense(rank: int) -> dict[str, Any]:
    """One process alone sees a batch that is not finite."""
    found = {}
    for name in ("ring", "reng", "r-kalman", "r-kalman, loss", "sophia-h"):
        model = mlp()
        wrapper = DistributedDataParallel(model)
        optimizer: Any = create_optimizer(ALONE[name][0], model, **ALONE[name][1])
        for step in range(3):
            ((inputs, targets),) = Case("", net="mlp").dealt(step, rank)
            inputs = inputs * torch.nan if (rank, step) == (1, 1) else inputs
            optimizer.zero_grad()
            take_joint_step(wrapper, wrapper, optimizer, [(inputs, targets)], 8)
        found[name] = (optimizer.skipped_steps, [p.detach() for p in model.parameters()])
    return found


def message_of(action: Callable[[], object]) -> str:
    try:
        action()
    except GrngError as error:
        return str(error)
    return "no error"


def make_mistakes(rank: int) -> dict[str, str]:
    """What a user can do wrong; both processes must say so, and neither may wait for the other."""
    found = {}
    for name in ("reng", "gr-sgd", "sophia-h"):
        for given in ("module", "wrapper"):
            model = mlp()
            wrapper = DistributedDataParallel(model)
            optimizer: Any = create_optimizer(name, model if given == "module" else wrapper)
            inputs, _ = class_batch()
            found[f"{name}, {given}"] = message_of(lambda x=inputs, ddp=wrapper: ddp(x))  # type: ignore[misc]
            with wrapper.no_sync():
                found[f"{name}, {given}, no_sync"] = message_of(lambda x=inputs, ddp=wrapper: ddp(x))  # type: ignore[misc]
            optimizer.close()

    static = DistributedDataParallel(mlp(), static_graph=True)
    optimizer = create_optimizer("reng", static)
    with static.no_sync():
        found["static graph"] = message_of(lambda: static(inputs))

    for label, name, own in UNEQUAL:
        wrapper = DistributedDataParallel(mlp())
        optimizer = create_optimizer(name, wrapper, **own)
        found[f"micro-batches, {label}"] = message_of(partial(step_after, 1 + rank, wrapper, optimizer))
    return found


UNEQUAL: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("a draw", "ring", {}),
    ("a draw and rows", "r-kalman", {}),
    ("rows", "r-kalman", {"filter_scope": "global"}),
    ("outputs", "r-kalman", {"observation": "outputs"}),
)


def step_after(micro_batches: int, wrapper: DistributedDataParallel, optimizer: Any) -> None:
    """Observe so many micro-batches without a message of DDP's, then step."""
    inputs, targets = class_batch()
    with wrapper.no_sync():
        for _ in range(micro_batches):
            outputs = wrapper(inputs)
            optimizer.observe(outputs, targets)
            nn.functional.cross_entropy(outputs, targets).backward()
    optimizer.step()


SHARED = ("kfac", "kfac, reduce, Newton", "kfac, corrected", "ring", "ring, corrected", "reng")


def train_shared(case: Case, rank: int) -> dict[str, Any]:
    """Train with every refresh shared out, however little work it is; how many this process did is there too."""
    done: list[int] = []

    def counted(*arguments: Any) -> Any:
        done.append(1)
        return blocks.refresh(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("grng.optim.natural.refresh", counted)
        patch.setattr(sharing, "LEAST_WORK", 0.0)
        return {**train(case, rank), "refreshes": len(done)}


JOBS: dict[str, Callable[[int], Any]] = {"make early": make_early, "train early": train_early, "alone": train_alone}
JOBS |= {"messages": count_messages, "buckets": sum_in_buckets, "nonsense": step_on_nonsense, "mistakes": make_mistakes}
JOBS |= {name: partial(train, case) for name, case in CASES.items()}
JOBS |= {f"{name}; shared": partial(train_shared, CASES[name]) for name in SHARED}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the two processes found."""
    directory = tmp_path_factory.mktemp("processes")
    spawn(in_process, (str(directory), JOBS), nprocs=WORLD)
    return [torch.load(directory / f"{rank}.pt", weights_only=False) for rank in range(WORLD)]


def assert_same(left: Any, right: Any, where: str = "") -> None:
    """Compare nested containers bit for bit."""
    if isinstance(left, Tensor):
        assert torch.equal(left, right), where
    elif isinstance(left, Mapping):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for index, (mine, theirs) in enumerate(zip(left, right, strict=True)):
            assert_same(mine, theirs, f"{where}[{index}]")
    else:
        assert left == right, where


@pytest.mark.parametrize("name", list(CASES))
def test_two_processes_equal_one_on_the_joined_batch(name: str, two: list[dict[str, Any]]) -> None:
    case = CASES[name]
    one = train(case, None)
    for kind in ("parameters", "gradients"):
        assert two[0][name][kind].keys() == one[kind].keys()
        for key, expected in one[kind].items():
            close = torch.allclose(two[0][name][kind][key], expected, rtol=1e-8, atol=1e-10)
            assert close, f"{kind} {key}: {(two[0][name][kind][key] - expected).abs().max()}"
    start = dict(NETS[case.net][0]().named_parameters())
    assert any(not torch.equal(p, start[key]) for key, p in one["parameters"].items())
    assert two[0][name]["diagnostics"] == pytest.approx(one["diagnostics"], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", list(CASES))
def test_parameters_and_state_are_the_same_in_every_process(name: str, two: list[dict[str, Any]]) -> None:
    assert_same(two[0][name], two[1][name])


@pytest.mark.parametrize("name", SHARED)
def test_shared_inverses_are_those_of_one_process_and_the_same_in_all(name: str, two: list[dict[str, Any]]) -> None:
    mine, theirs = ({**found[f"{name}; shared"]} for found in two)
    refreshes = [mine.pop("refreshes"), theirs.pop("refreshes")]
    assert min(refreshes) > 0
    assert_same(mine, theirs)
    one = train(CASES[name], None)
    for key, expected in one["parameters"].items():
        torch.testing.assert_close(mine["parameters"][key], expected, rtol=1e-8, atol=1e-10)
    assert mine["diagnostics"] == pytest.approx(one["diagnostics"], rel=1e-6, abs=1e-9)


def test_work_is_dealt_out_to_whoever_has_least() -> None:
    assert sharing.owners([1.0, 8.0, 1.0, 4.0, 2.0], 2) == [1, 0, 1, 1, 1]
    assert sharing.owners([5.0], 4) == [0]
    loads = [0.0] * 4
    works = [float(n**3) for n in range(3, 40)]
    for load, owner in zip(works, sharing.owners(works, 4), strict=True):
        loads[owner] += load
    assert max(loads) - min(loads) <= max(works)


def test_a_process_group_may_be_made_after_the_optimizer(two: list[dict[str, Any]]) -> None:
    model, case = mlp(), Case("ring", net="mlp")
    optimizer: Any = create_optimizer("ring", model, seed=3, **WHOLE_BATCH)
    for step in range(2):
        optimizer.zero_grad()
        take_joint_step(model, None, optimizer, case.dealt(step, None), 8)
    for found in two:
        for mine, expected in zip(found["train early"], model.parameters(), strict=True):
            torch.testing.assert_close(mine, expected.detach(), rtol=1e-8, atol=1e-10)


def test_processes_that_train_models_of_their_own_send_nothing(two: list[dict[str, Any]]) -> None:
    for rank, found in enumerate(two):
        assert found["alone"]["messages"] == 0
        for label, parameters in found["alone"]["models"].items():
            model, (kind, given) = mlp(), ALONE[label.split(";")[0]]
            optimizer: Any = create_optimizer(kind, model, seed=3, **given)
            for step in range(2):
                take_step(model, optimizer, *class_batch(seed=10 * rank + step))
            assert_same(parameters, [p.detach() for p in model.parameters()], label)


def test_a_step_takes_a_handful_of_messages_however_many_layers_there_are(two: list[dict[str, Any]]) -> None:
    messages = two[0]["messages"]
    assert messages["sgd"] == []
    assert len(messages["r-kalman, loss"]) == 2  # samples, deviance
    assert (
        len(messages["r-kalman"]) == 6
    )  # sizes for the draw, the step, micro-batches, groups, which are used, the rows
    assert len(messages["kfac, exact Fisher"]) == 2  # counts and sums of the factors
    assert (
        len(messages["ring, corrected"]) == 6
    )  # sizes for the draw, the step, K-FAC's, counts and sums of the squares
    assert len(messages["reng"]) == 7  # sizes for the draw, the step, K-FAC's, which gradients there are, g, H g


def test_messages_are_cut_into_buckets(two: list[dict[str, Any]]) -> None:
    *sums, sent = two[1]["buckets"]
    pictures = torch.arange(24.0).reshape(1, 2, 3, 4)
    ones = [torch.ones(4), torch.ones(3, dtype=torch.float64), torch.ones(7), pictures, torch.ones(()), torch.ones(0)]
    for found, expected in zip(sums, ones, strict=True):
        torch.testing.assert_close(found, 3.0 * expected, rtol=0, atol=0)
    assert sums[3].is_contiguous(memory_format=torch.channels_last)
    assert sorted(sent.tolist()) == [1, 3, 4, 7, 24]


def test_a_batch_that_is_not_finite_is_skipped_by_all(two: list[dict[str, Any]]) -> None:
    assert_same(two[0]["nonsense"], two[1]["nonsense"])
    for skipped, parameters in two[0]["nonsense"].values():
        assert skipped == 1
        assert all(torch.isfinite(p).all() for p in parameters)


def test_mistakes_say_what_to_do(two: list[dict[str, Any]]) -> None:
    for found in two:
        for name in ("reng", "gr-sgd", "sophia-h"):
            for given in ("module", "wrapper"):
                assert "Put forward and backward under ddp.no_sync()" in found["mistakes"][f"{name}, {given}"]
                assert found["mistakes"][f"{name}, {given}, no_sync"] == "no error"
        assert "static_graph=True must see its first step outside" in found["mistakes"]["static graph"]
        for label, _, _ in UNEQUAL:
            assert "the same number of micro-batches" in found["mistakes"][f"micro-batches, {label}"], label


def test_the_second_order_optimizer_of_timm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mlp()
    optimizer = create_optimizer("timm:adahessian", model)
    take_step(model, optimizer, *class_batch())
    monkeypatch.setattr(Processes, "active", property(lambda self: True))
    with pytest.raises(GrngError, match=r"timm:adahessian .* over no processes"):
        take_step(model, optimizer, *class_batch())


def test_one_process_in_a_group_sends_nothing(tmp_path: Path) -> None:
    distributed.init_process_group("gloo", init_method=(tmp_path / "meeting").as_uri(), rank=0, world_size=1)
    try:
        model = mlp()
        optimizer: Any = create_optimizer("ring", model)
        with counted_messages() as sent:
            take_step(model, optimizer, *class_batch())
        assert sent == []
    finally:
        distributed.destroy_process_group()
