"""Which layers have Kronecker factors, and what a batch contributes to them.

For one layer, `F ≈ A ⊗ G` with `A = E[a aᵀ]` of its inputs (a 1 appended for the bias) and `G = E[e eᵀ]` of the
per-sample output gradients
(Martens & Grosse 2015; Grosse & Martens 2016). A weight used at several positions (tokens, pixels, repeated calls) is
treated by `expand`:
A = (1/BT) Σ_bt a aᵀ, G = (1/B) Σ_bt e eᵀ; or `reduce`: ā_b = (1/T) Σ_t a_bt, ē_b = Σ_t e_bt, A = (1/B) Σ ā āᵀ,
G = (1/B) Σ ē ēᵀ (Eschenhagen et al. 2023, arXiv 2311.00636).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from grng.curvature import conv_moments
from grng.curvature.factor_blocks import count_blocks, cut
from grng.curvature.layout import conv_gradients, conv_patches, linear_features, pads_same
from grng.curvature.precision import wide_dtype

SMALL = 2**16  # entries up to which one wider product costs less than several calls


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer with Kronecker factors: its module, its trainable weight and bias, and the sizes of its factors.

    `input_blocks` and `output_blocks` say into how many diagonal blocks A and G are cut: see `factor_blocks`.
    """

    name: str
    module: nn.Linear | nn.Conv2d
    weight: nn.Parameter
    bias: nn.Parameter | None
    input_blocks: int = 1
    output_blocks: int = 1

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        """Weight and, where it is trained, bias."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    @property
    def groups(self) -> int:
        """Number of groups: independent blocks of the layer."""
        return self.module.groups if isinstance(self.module, nn.Conv2d) else 1

    @property
    def input_size(self) -> int:
        """Width of A, the bias column included."""
        return self.weight[0].numel() + (self.bias is not None)

    @property
    def output_size(self) -> int:
        """Width of G."""
        return self.weight.shape[0] // self.groups

    def input_rows(self, inputs: Tensor, *, batch: int, samples: int) -> Tensor:
        """Bring a forward input to `[groups, samples, shared, features]`, the first `samples` of a batch of `batch`."""
        inputs = _first_samples(inputs, batch, samples)
        rows = conv_patches(inputs, self.module) if isinstance(self.module, nn.Conv2d) else linear_features(inputs)
        return _by_sample(rows, samples)

    def gradient_rows(self, gradients: Tensor, *, batch: int, samples: int) -> Tensor:
        """Bring an output gradient to `[groups, samples, shared, out/groups]`, the first `samples` of `batch`."""
        gradients = _first_samples(gradients, batch, samples)
        rows = (
            conv_gradients(gradients, self.groups) if isinstance(self.module, nn.Conv2d) else linear_features(gradients)
        )
        return _by_sample(rows, samples)


def _first_samples(values: Tensor, batch: int, samples: int) -> Tensor:
    """Cut to the first samples.

    The leading dimension may be a multiple of the batch (windows of a picture), or have nothing to do with it.
    """
    if samples == batch or values.shape[0] % batch:
        return values
    return values[: samples * (values.shape[0] // batch)]


def _by_sample(rows: Tensor, samples: int) -> Tensor:
    """Make the second dimension the samples; a layer that sees no batch (it makes a table, say) is one sample."""
    groups, leading, _, features = rows.shape
    if leading == samples:
        return rows
    return rows.reshape(groups, 1 if leading % samples else samples, -1, features)


def find_layers(
    model: nn.Module,
    trainable: set[nn.Parameter],
    *,
    max_factor_size: int | None,
    excluded: Mapping[nn.Parameter, str] | None = None,
) -> tuple[list[Layer], dict[nn.Parameter, str]]:
    """Find the layers of `model` that get Kronecker factors, and say why the rest of the parameters does not.

    Args:
        model: The model.
        trainable: The parameters that the optimizer holds.
        max_factor_size: Wider factors are cut into blocks; None for no limit.
        excluded: Weights whose layers are left to the other rule for a reason found elsewhere.

    Returns:
        The layers in the model's order, and for every other parameter of `trainable` the reason.
    """
    owners = Counter(
        parameter for module in model.modules() for parameter in module._parameters.values() if parameter is not None
    )
    layers: list[Layer] = []
    reasons: dict[nn.Parameter, str] = {}
    for name, module in model.named_modules():
        own = [
            parameter for parameter in module._parameters.values() if parameter is not None and parameter in trainable
        ]
        if not own:
            continue
        reason = _why_not(module, trainable, owners, max_factor_size)
        if reason is None and excluded:
            reason = excluded.get(module._parameters["weight"])
        if reason is None:
            assert isinstance(module, nn.Linear | nn.Conv2d)
            layers.append(_layer(name, module, trainable, max_factor_size))
        else:
            reasons.update(dict.fromkeys(own, reason))
    return layers, reasons


def _layer(
    name: str, module: nn.Linear | nn.Conv2d, trainable: set[nn.Parameter], max_factor_size: int | None
) -> Layer:
    weight, bias = module._parameters["weight"], module._parameters.get("bias")
    assert weight is not None
    blocks = _blocks(module, weight, max_factor_size)
    assert blocks is not None
    return Layer(name, module, weight, bias if bias in trainable else None, *blocks)


def _blocks(module: nn.Linear | nn.Conv2d, weight: nn.Parameter, max_factor_size: int | None) -> tuple[int, int] | None:
    """Return into how many blocks A and G are cut, None where equal blocks are not to be had."""
    groups = module.groups if isinstance(module, nn.Conv2d) else 1
    inputs = count_blocks(weight[0].numel(), weight[0, 0].numel(), max_factor_size)
    outputs = count_blocks(weight.shape[0] // groups, 1, max_factor_size)
    return None if inputs is None or outputs is None else (inputs, outputs)


def _why_not(
    module: nn.Module, trainable: set[nn.Parameter], owners: Counter[nn.Parameter], max_factor_size: int | None
) -> str | None:
    """Return why `module` has no Kronecker factors, or None where it has."""
    kind = type(module).__name__
    # An allow-list by exact type: subclasses (weight-standardised, parametrised, …) pass isinstance but transform their
    # weight before using it.
    if type(module) not in (nn.Linear, nn.Conv2d) and not _is_plain_subclass(module):
        if isinstance(module, nn.Linear | nn.Conv2d):
            return f"{kind} (a subclass whose weight may be transformed)"
        return f"{kind} (no Kronecker rule)"
    assert isinstance(module, nn.Linear | nn.Conv2d)
    weight = module._parameters.get("weight")
    if weight is None or weight not in trainable:
        return f"{kind} with a frozen or computed weight"
    if any(owners[parameter] > 1 for parameter in module._parameters.values() if parameter is not None):
        return f"{kind} with tied weights"
    if _blocks(module, weight, max_factor_size) is None:
        return f"{kind} with a factor that cannot be cut into equal blocks up to max_factor_size={max_factor_size}"
    return None


def _is_plain_subclass(module: nn.Module) -> bool:
    """Whether the module is one of timm's subclasses that use weight and bias as their base class does."""
    plain_linear = type(module).__name__ == "Linear" and type(module).__module__ == "timm.layers.linear"
    return plain_linear or pads_same(module)


class FactorSum:
    """Un-normalised sums over the micro-batches of one step, from which the batch's A and G are formed.

    Sums, not means, so that micro-batches of unequal size add up to exactly the statistics of the joined batch.
    """

    def __init__(self, layer: Layer, weight_sharing: str) -> None:
        self.layer = layer
        self.weight_sharing = weight_sharing
        self.samples = 0
        self._input_rows = 0
        self._inputs: Tensor | None = None
        self._gradients: Tensor | None = None

    def add_inputs(self, uses: Sequence[Tensor], *, batch: int, samples: int) -> None:
        """Add the inputs of every use of the layer in one forward, of the first `samples` of its `batch` samples."""
        wide = [inputs.to(wide_dtype(self.layer.weight)) for inputs in uses]
        if self.weight_sharing == "reduce":
            rows = [self.layer.input_rows(inputs, batch=batch, samples=samples) for inputs in wide]
            positions = sum(part.shape[2] for part in rows)
            moments = [self._moment(sum_of([part.sum(dim=2, keepdim=True) for part in rows]) / positions)]
        else:
            moments = [self._input_moment(inputs, batch=batch, samples=samples) for inputs in wide]
        for product, count in moments:
            self._inputs = product if self._inputs is None else self._inputs.add_(product)
            self._input_rows += count
        self.samples += samples

    def _input_moment(self, inputs: Tensor, *, batch: int, samples: int) -> tuple[Tensor, int]:
        """Return the sum over one use's rows, and how many there are."""
        layer = self.layer
        part = _first_samples(inputs, batch, samples)
        if isinstance(layer.module, nn.Conv2d) and conv_moments.suits(layer.module, part, layer.input_blocks):
            return conv_moments.second_moment(
                part, layer.module, with_bias=layer.bias is not None, blocks=layer.input_blocks
            )
        return self._moment(layer.input_rows(inputs, batch=batch, samples=samples))

    def _moment(self, rows: Tensor) -> tuple[Tensor, int]:
        layer = self.layer
        product = _second_moment(rows, with_bias=layer.bias is not None, blocks=layer.input_blocks)
        return product, rows.shape[1] * rows.shape[2]

    def add_gradients(self, uses: Sequence[Tensor], *, batch: int, samples: int) -> None:
        """Add the per-sample output gradients of every use; called once per set of sampled (or enumerated) labels."""
        dtype = wide_dtype(self.layer.weight)
        rows = [self.layer.gradient_rows(gradients.to(dtype), batch=batch, samples=samples) for gradients in uses]
        if self.weight_sharing == "reduce":
            rows = [sum_of([part.sum(dim=2, keepdim=True) for part in rows])]
        for part in rows:
            product = _second_moment(part, with_bias=False, blocks=self.layer.output_blocks)
            self._gradients = product if self._gradients is None else self._gradients.add_(product)

    @property
    def complete(self) -> bool:
        """Whether there are inputs and gradients."""
        return self._inputs is not None and self._gradients is not None

    def counts(self) -> tuple[int, int, int, int]:
        """Return the samples, the rows of A's sum, and 1 or 0 for whether there are inputs, and gradients."""
        return self.samples, self._input_rows, int(self._inputs is not None), int(self._gradients is not None)

    def fill(self, *, samples: int, input_rows: int) -> None:
        """Take the counts of all processes, and zeros for what this one did not see."""
        self.samples, self._input_rows = samples, input_rows
        layer = self.layer
        if self._inputs is None:
            blocks = layer.input_blocks
            # the bias of a cut A has no entry in it
            self._inputs = _zeros(layer, blocks, layer.input_size if blocks == 1 else layer.weight[0].numel() // blocks)
        if self._gradients is None:
            self._gradients = _zeros(layer, layer.output_blocks, layer.output_size // layer.output_blocks)

    def sums(self) -> tuple[Tensor, Tensor]:
        """Return Σ a aᵀ `[groups, in, in]` and Σ e eᵀ `[groups, out, out]`; both must be there."""
        assert self._inputs is not None
        assert self._gradients is not None
        return self._inputs, self._gradients

    def replace(self, inputs: Tensor, gradients: Tensor) -> None:
        """Take the sums of all processes."""
        self._inputs, self._gradients = inputs, gradients

    def factors(self) -> tuple[Tensor, Tensor] | None:
        """Return the batch's A `[groups, in, in]` and G `[groups, out, out]`, or their blocks.

        None where a part is missing.
        """
        if not self.complete:
            return None
        assert self._inputs is not None
        assert self._gradients is not None
        return self._inputs / self._input_rows, self._gradients / self.samples


def _zeros(layer: Layer, blocks: int, size: int) -> Tensor:
    return layer.weight.new_zeros(layer.groups * blocks, size, size, dtype=wide_dtype(layer.weight))


def sum_of(tensors: Sequence[Tensor]) -> Tensor:
    """Add tensors of one shape."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


def _second_moment(rows: Tensor, *, with_bias: bool, blocks: int) -> Tensor:
    """Sum the outer products of all rows, a 1 appended where `with_bias`: `[groups, features, features]`.

    Of `blocks` diagonal blocks only, `[groups · blocks, …]`; the bias is then a block that need not be computed.
    """
    groups, batch, shared, features = rows.shape
    flat = cut(rows.reshape(groups, batch * shared, features), groups, blocks)
    if not with_bias or blocks > 1:
        return flat.mT @ flat
    if flat.numel() < SMALL:
        ones = F.pad(flat, (0, 1), value=1.0)
        return ones.mT @ ones
    # the appended ones give sums, which cost less than a wider product
    product = flat.new_empty(groups, features + 1, features + 1)
    product[:, :-1, :-1] = flat.mT @ flat
    sums = flat.sum(dim=1)
    product[:, -1, :-1] = sums
    product[:, :-1, -1] = sums
    product[:, -1, -1] = batch * shared
    return product
