"""The schema of `result.json`: what a run leaves behind, whether it finished, diverged or failed.

A value that a run does not have is null; a number that is not finite is written as null, since JSON has no NaN.
"""

from __future__ import annotations

import math
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from grng.errors import RunDirectoryError
from grng.runs.files import atomic_write_text, explain_os_errors
from grng.runs.schema import Name

SCHEMA_VERSION: typing.Final = 1

Status = Literal["finished", "diverged", "failed", "interrupted"]
Reason = Literal["nan", "loss_bound", "oom", "timeout", "crash", "signal"]


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _storable(value: Any) -> Any:
    """Return text as UTF-8 can hold it: the bytes of a file's name need not be, and are written out then."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value


Number = Annotated[float | None, BeforeValidator(_finite_or_none)]
Text = Annotated[str, BeforeValidator(_storable)]


class Record(BaseModel):
    """A part of a result: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Final(Record):
    """Scores of the weights at the end; accuracies are fractions in [0, 1]."""

    train_loss: Number = None
    """Mean over the last epoch's batches."""
    val_loss: Number = None
    val_accuracy: Number = None
    test_loss: Number = None
    test_accuracy: Number = None


class Best(Record):
    """The epoch with the highest validation accuracy."""

    epoch: int | None = None
    val_accuracy: Number = None


class Target(Record):
    """The validation accuracy aimed at, and when the first of two evaluations in a row reached it (null: never)."""

    accuracy: Number = None
    step: int | None = None
    time_s: Number = None
    """Seconds on the training clock."""


class Time(Record):
    """Where the time went; the split is a mean per step in milliseconds and sums to `step_ms`."""

    total_s: Number = None
    """Seconds from start to end, evaluation and logging included."""
    train_s: Number = None
    """Seconds on the training clock."""
    step_ms: Number = None
    step_ms_median: Number = None
    data_ms: Number = None
    forward_ms: Number = None
    observe_ms: Number = None
    backward_ms: Number = None
    optimizer_ms: Number = None
    shared: bool = False
    """Whether other runs used the same cores or device meanwhile."""


class Diagnostics(Record):
    """What was measured last beside training (docs/diagnostics.md); all null where nothing was."""

    step: int | None = None
    """The step of the last measurement."""
    samples: int | None = None
    """Training images that the loss was measured on."""
    hessian_max: Number = None
    hessian_max_residual: Number = None
    hessian_trace: Number = None
    hessian_trace_se: Number = None
    grad_norm: Number = None
    step_cosine: Number = None
    grad_correlation_consecutive: Number = None
    grad_correlation_sample: Number = None
    seconds: Number = None
    """Spent on all measurements; no part of the training clock."""


class Memory(Record):
    """Memory: growth of the process over its state before training, in MB; the optimizer's state in bytes."""

    growth_mb: Number = None
    optimizer_state_bytes: int | None = None
    peak_mb: Number = None


class Data(Record):
    """What was trained and measured on."""

    train: int | None = None
    """Pictures in the training split."""
    val: int | None = None
    test: int | None = None
    classes: list[Text] | None = None
    """Names by label."""
    data_dir: Text | None = None
    in_memory: bool | None = None
    """Whether all pictures were kept in memory."""
    skipped: int = 0
    """Pictures that could not be read and are in no split."""
    skipped_pictures: list[Text] = Field(default_factory=list)
    """The first of them, and why."""
    sha256: str | None = None
    """Of names, classes and splits of all pictures."""


class Parameters(Record):
    """Numbers of parameters, in all and by how they are preconditioned."""

    total: int | None = None
    trainable: int | None = None
    kronecker: int | None = None
    diagonal: int | None = None
    adamw: int | None = None
    filter: int | None = None


class Pairing(Record):
    """Hashes of the initial weights and of the batches' order: equal across optimizers for one seed."""

    init_sha256: str | None = None
    batches_sha256: str | None = None


class Weights(Record):
    """Where the initial weights are from, and which entries of the model's state_dict they are."""

    source: str
    """The file, or the name of the pretrained weights."""
    sha256: str | None = None
    """Of the file."""
    entry: str | None = None
    """Under which key of the file they were."""
    loaded: int
    """Number of entries loaded."""
    total: int
    """Number of entries of the model."""
    adapted: list[str] = Field(default_factory=list)
    """Loaded with another shape than in the source."""
    replaced: list[str] = Field(default_factory=list)
    """In the source with a shape that does not fit, so fresh."""
    missing: list[str] = Field(default_factory=list)
    """Not in the source, so fresh."""
    unexpected: list[str] = Field(default_factory=list)
    """In the source alone."""


class Environment(Record):
    """Versions and the machine."""

    grng: str | None = None
    code: str | None = None
    """Hash of grng's own source files that a run's numbers come from; null: from before it was noted."""
    torch: str | None = None
    timm: str | None = None
    python: str | None = None
    platform: str | None = None
    device: str | None = None
    device_name: str | None = None
    threads: int | None = None
    cpu_count: int | None = None


class RunResult(Record):
    """One run's outcome, as stored in `result.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    status: Status
    reason: Reason | None = None
    message: Text | None = None
    label: Name
    optimizer: Name
    hyperparameters: dict[str, JsonValue]
    model: Name
    dataset: Name
    seed: int
    epochs: int | None = None
    steps: int = 0
    """Steps done."""
    planned_steps: int | None = None
    batch_size: int
    run_id: str
    resumed_from_step: int | None = None
    resumed_from: Literal["last", "previous"] | None = None
    """Which checkpoint this process went on from; previous: the last one was damaged."""
    world_size: int = 1
    final: Final = Field(default_factory=Final)
    best: Best = Field(default_factory=Best)
    target: Target = Field(default_factory=Target)
    time: Time = Field(default_factory=Time)
    memory: Memory = Field(default_factory=Memory)
    data: Data = Field(default_factory=Data)
    parameters: Parameters = Field(default_factory=Parameters)
    diagnostics: Diagnostics = Field(default_factory=Diagnostics)
    coverage: list[dict[str, JsonValue]] | None = None
    weights: Weights | None = None
    """Of a run that did not start from fresh weights."""
    pairing: Pairing = Field(default_factory=Pairing)
    environment: Environment = Field(default_factory=Environment)
    created: AwareDatetime
    finished: AwareDatetime | None = None

    def to_json(self) -> str:
        """Return the text of `result.json`."""
        return self.model_dump_json(indent=2) + "\n"

    def save(self, path: Path) -> None:
        """Write `result.json` at `path`, in one piece or not at all.

        Raises:
            RunDirectoryError: If the file cannot be written.
        """
        atomic_write_text(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> RunResult:
        """Read a `result.json`.

        Raises:
            RunDirectoryError: If it cannot be read, is damaged, or is of another schema version.
        """
        with explain_os_errors(path):
            data = path.read_bytes()
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise _unreadable(path, error) from None


def _unreadable(path: Path, error: ValidationError) -> RunDirectoryError:
    first = error.errors(include_url=False)[0]
    if first["loc"] == ("schema_version",):
        return RunDirectoryError(
            f"has schema version {first['input']!r}, this grng reads version {SCHEMA_VERSION}.",
            where=str(path),
            hint="Read it with the grng that wrote it, or do the run again in another directory.",
        )
    key = ".".join(map(str, first["loc"]))
    return RunDirectoryError(
        f"is damaged or no result of grng: {key + ': ' if key else ''}{first['msg']}.",
        where=str(path),
        hint="Remove the run's directory to do the run again.",
    )
