"""The sections of a run's configuration, one class each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from grng.diagnostics.names import DIAGNOSTICS, DiagnosticName
from grng.runs.model_section import ModelConfig
from grng.runs.schema import Count, InputPath, Name, NamedSection, Plain, Positive, Section, Seed

__all__ = [
    "DatasetConfig",
    "LoggingConfig",
    "MachineConfig",
    "ModelConfig",
    "OptimizerConfig",
    "TrainingConfig",
]

DEFAULT_EPOCHS = 3

Fraction = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
PerChannel = Annotated[list[float], Field(min_length=1, max_length=3)]
Range = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2, max_length=2)]


class DatasetConfig(NamedSection):
    """Which data set, and how its pictures reach the model.

    The keys after `img_size` are for pictures that are read from files, not for the built-in sets.
    """

    name: Name = "mnist5k"
    """A built-in data set, or a door to others, `folder`, `torch/cifar10`, `hfds/…`: `grng datasets list`."""
    img_size: Count | None = None
    """Height and width in pixels; null: the data set's own, of a folder the model's."""
    data_dir: InputPath | None = None
    """Where the files are, or are downloaded to."""
    download: bool = False
    """Download what is missing into `data_dir`; no part of the run id."""
    strict: bool = False
    """Make unreadable pictures and empty classes an error instead of leaving them out; no part of the run id."""
    val_fraction: Fraction | None = None
    """Share of the training pictures, of each class alike, that makes a missing validation split; null: 0.1."""
    test_fraction: Fraction | None = None
    """Likewise a missing test split; null: 0.1."""
    split_seed: Seed | None = None
    """Seed of which pictures these are, whatever the run's seed; null: 0."""
    channels: Literal[1, 3] | None = None
    """1 turns the pictures grey, 3 into RGB; null: 3."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    """How pictures are resized; null: as the model's weights at timm were trained."""
    crop_pct: Annotated[float, Field(gt=0, le=1)] | None = None
    """Image size by the size that pictures are resized to before the centre is cut out; null: the model's."""
    crop_mode: Literal["center", "squash", "border"] | None = None
    """What becomes of pictures that are not square: cut, squeezed, or padded; null: the model's."""
    mean: PerChannel | None = None
    """Mean of each channel, of pixels from 0 to 1, that is subtracted; null: the model's."""
    std: PerChannel | None = None
    """Standard deviation of each channel that is divided by; null: the model's."""
    input_key: Name | None = None
    """The column or entry with the pictures (hfds, wds, tfds); null: the one that has pictures."""
    target_key: Name | None = None
    """The column or entry with the class (hfds, wds, tfds); null: `label`, or the one that has classes."""
    in_memory: Literal["auto", True, False] = "auto"
    """Keep all pictures decoded in the device's memory; auto: up to 64 pixels and 1 GiB. No part of the run id."""


class AugmentConfig(Section):
    """How training batches are changed before the model sees them."""

    flip: Probability = 0.0
    """Probability that a picture is mirrored left to right."""
    crop: Literal["pad", "resized"] | None = None
    """`pad`: a random window of the picture with `padding` black pixels around; `resized`: a random part, resized."""
    padding: Count = 4
    """Pixels on each side, for `crop: pad`."""
    scale: Range = Field(default=[0.08, 1.0])
    """Least and largest share of the picture's area, for `crop: resized`."""
    ratio: Range = Field(default=[0.75, 4 / 3])
    """Least and largest width by height, for `crop: resized`."""
    auto_augment: Name | None = None
    """timm's AutoAugment, RandAugment or AugMix by its string, e.g. `rand-m9-mstd0.5-inc1`."""
    color_jitter: Annotated[float, Field(ge=0)] = 0.0
    """Largest relative change of brightness, contrast and saturation; without effect beside `auto_augment`."""
    random_erasing: Probability = 0.0
    """Probability that a random rectangle of the picture is erased."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """α of Mixup's Beta(α, α): pairs of images and their labels are averaged; 0: off."""
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    """α of CutMix's Beta(α, α): a rectangle comes from another image, the labels in proportion; 0: off."""
    mixup_prob: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the batches that are mixed."""
    mixup_switch_prob: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the mixed batches that get CutMix, where both are on."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of every label that is spread evenly over all classes."""


class OptimizerConfig(NamedSection):
    """Which optimizer; every key besides `name` is a hyperparameter, checked by `resolve` against its signature."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Plain]

    name: Name = "ring"
    """An optimizer: `grng optimizers list`, or `timm:NAME`."""

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The hyperparameters given, by name."""
        return dict(self.__pydantic_extra__ or {})


class TrainingBase(Section):
    """What a run and a comparison say alike of training; what they mean by a length and a target differs."""

    epochs: Count | None = None
    """Passes over the training data; 3 unless `steps` is given."""
    steps: Count | None = None
    """Optimizer steps, instead of `epochs`."""
    batch_size: Count = 128
    """Images per step."""
    grad_accum: Count = 1
    """Micro-batches that a step's batch is done in; must divide `batch_size`."""
    loss: Literal["auto", "ce", "bce", "mse"] = "auto"
    """`ce`: softmax cross-entropy; `bce`: one binary cross-entropy a class, summed; `mse`: ½‖z − y‖²; auto: ce."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Autocast of forward and loss, in training and evaluation; fp16 with a loss scale."""
    clip_grad: Positive | None = None
    """Largest norm of the whole gradient, which is shortened to it before the optimizer's step; null: any."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of a moving average of the weights, which is what is evaluated; null: none."""
    ema_warmup: bool = False
    """Let the decay rise to `ema` with the steps, as 1 − step^(−2/3)."""
    schedule: Literal["cosine", "constant", "linear", "step"] = "cosine"
    """How the learning rate falls after the warm-up."""
    decay_every: Count | None = None
    """Steps between two falls, for `schedule: step`."""
    decay_rate: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """What each of these falls multiplies the learning rate by."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises linearly from 0."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Factor of the learning rate from each layer to the one below it; null: the same rate for all."""
    no_decay: bool = False
    """No weight decay for norms, biases and what the model names: position embeddings, class tokens."""
    eval_every: Count | None = None
    """Steps between evaluations, besides those at every epoch's end."""
    divergence_factor: Annotated[float, Field(gt=1)] = 10.0
    """A loss above this times the first step's loss …"""
    divergence_patience: Count = 20
    """… for so many steps in a row is divergence."""


class TrainingConfig(TrainingBase):
    """How long, in which batches, with which learning-rate schedule, and when a run counts as diverged."""

    alternatives: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"epochs", "steps"}),)

    target: Annotated[float, Field(gt=0, le=1)] | None = None
    """Validation accuracy to reach, a fraction; null: the data set's default."""

    @model_validator(mode="before")
    @classmethod
    def _epochs_or_steps(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        epochs, steps = value.get("epochs"), value.get("steps")
        if epochs is not None and steps is not None:
            raise PydanticCustomError("alternatives", "epochs and steps exclude each other; give one", {"key": "steps"})
        return {**value, "epochs": DEFAULT_EPOCHS} if epochs is None and steps is None else value


class LoggingConfig(Section):
    """What is written while training; no part of the run id."""

    log_every: Count = 10
    """Steps between logged steps."""
    checkpoint_every: Count | None = None
    """Steps between checkpoints, besides those by time and at every epoch's end."""
    checkpoint_seconds: Positive = 30.0
    """Seconds between checkpoints."""
    tensorboard: bool = True
    """Write TensorBoard event files."""
    tensorboard_points: Count = 1000
    """Logged steps of a run that go into them, at most, evenly spread, besides the first and the last; `metrics.jsonl`
    has all. TensorBoard by itself shows no more."""


def _diagnostic_names(value: Any) -> Any:
    """Take `grad_norm,hessian_max` for a list of two, and `all` for all of them."""
    if not isinstance(value, str):
        return value
    return list(DIAGNOSTICS) if value.strip() == "all" else [part.strip() for part in value.split(",")]


class DiagnosticsConfig(Section):
    """What is measured of the loss surface beside training (docs/diagnostics.md); no part of the run id."""

    names: Annotated[list[DiagnosticName], BeforeValidator(_diagnostic_names)] = Field(default_factory=list)
    """What to measure: a list of names, or a comma list, or `all`."""
    every: Count | None = None
    """Steps between measurements; the last step is always measured."""
    samples: Annotated[int, Field(ge=2)] = 1024
    """Training images in the fixed sample; all of them where there are fewer."""
    batch: Annotated[int, Field(ge=2)] = 256
    """Images of the sample at once: memory, and with `batchnorm: batch` what is normalised together."""
    iterations: Annotated[int, Field(ge=2)] = 20
    """Hessian-vector products of `hessian_max` (Lanczos), and random vectors of `hessian_trace` (Hutchinson)."""
    batchnorm: Literal["batch", "running"] = "batch"
    """What BatchNorm normalises the sample with: each batch's own statistics, as in training, or the running ones."""

    @field_validator("names")
    @classmethod
    def _names_differ(cls, value: list[DiagnosticName]) -> list[DiagnosticName]:
        for name in value:
            if value.count(name) > 1:
                raise PydanticCustomError("duplicate", "{name} is there twice", {"name": repr(name)})
        return value

    @model_validator(mode="after")
    def _names_and_every(self) -> DiagnosticsConfig:
        if self.names and self.every is None:
            text = "says what to measure, but not how often; set diagnostics.every (--diagnostics-every), too"
            raise PydanticCustomError("names_alone", "{text}", {"text": text, "key": "names"})
        if self.every is not None and not self.names:
            text = "says how often to measure, but not what; set diagnostics.names (--diagnostics), too"
            raise PydanticCustomError("every_alone", "{text}", {"text": text, "key": "every"})
        return self


class MachineConfig(Section):
    """Where it runs; no part of the run id."""

    device: Name = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, …"""
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    """CPU threads of torch; null: as many as the process may use."""
    data_workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Processes that read pictures; 0: this one; null: one less than there are cores, at most 8."""
    verify_data: bool = True
    """Decode every picture once before training, so that bad ones are left out; false: the first one ends the run."""
    compile: bool = False
    """Compile the model with torch.compile."""
    channels_last: bool = False
    """Keep images and convolutions in channels-last memory format."""
    processes: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Processes that train together, each on a part of every batch; null: one, or as many as torchrun started."""
    sync_batchnorm: Literal["auto", True, False] = "auto"
    """BatchNorm over the parts of all processes; auto: on GPUs, where nothing differentiates twice."""
