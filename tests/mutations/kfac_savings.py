"""Mistakes in what makes K-FAC's step cheaper: a part of the batch, factors in blocks, refreshes in turns."""

from __future__ import annotations

from tests.mutations.mutant import Mutant

PARTIAL, LAYERWISE = "grng/optim/partial_forward.py", "grng/optim/layerwise.py"
WATCHING = "grng/optim/watching.py"
BLOCKS, KRONECKER, LAYERS = (f"grng/curvature/{name}.py" for name in ("factor_blocks", "kronecker", "layers"))
TURNS = "grng/optim/refreshes.py"
OF_PARTIAL, OF_BLOCKS = ("tests/optim/test_partial_forward.py",), ("tests/curvature/test_factor_blocks.py",)
OF_TURNS, OF_UNSEEN = ("tests/optim/test_refreshes.py",), ("tests/optim/test_unseen_layers.py",)

PART_OF_THE_BATCH = (
    Mutant(
        "kfac",
        "the part's forward: BatchNorm takes the part's own statistics",
        PARTIAL,
        "        module.training = False\n",
        "        pass\n",
        OF_PARTIAL,
    ),
    Mutant(
        "kfac",
        "the part's forward: a norm that is called twice takes the first call's statistics twice",
        PARTIAL,
        "left = iter(pairs)\n",
        "left = iter([pairs[0]] * len(pairs))\n",
        OF_PARTIAL,
    ),
    Mutant(
        "kfac",
        "the part's forward: ε counted in the variance that is read off the graph",
        PARTIAL,
        "scale.square().reciprocal() - eps",
        "scale.square().reciprocal()",
        OF_PARTIAL,
    ),
    Mutant(
        "kfac",
        "the part's forward: the unbiased variance for the biased one",
        PARTIAL,
        "correction=0",
        "correction=1",
        OF_PARTIAL,
    ),
    Mutant(
        "kfac",
        "the part's forward: running statistics left changed",
        PARTIAL,
        'module._buffers["running_mean"], module._buffers["running_var"] = mean, variance',
        "pass",
        OF_PARTIAL,
    ),
    Mutant(
        "kfac",
        "the part's forward: BatchNorm left in eval mode",
        PARTIAL,
        "            module.training = True\n",
        "            pass\n",
        OF_PARTIAL,
    ),
    Mutant(
        "kfac",
        "the part's forward: other buffers left changed",
        PARTIAL,
        "                    buffer.copy_(saved)\n",
        "                    pass\n",
        OF_PARTIAL,
    ),
    Mutant(
        "kfac",
        "the part's forward: buffers written to that did not change",
        PARTIAL,
        "if buffer._version != version:",
        "if True:",
        OF_PARTIAL,
    ),
    Mutant(
        "kfac",
        "the part's forward: random state not put back",
        PARTIAL,
        "        set_random_state(model, state)\n",
        "        pass\n",
        OF_PARTIAL,
    ),
    Mutant(
        "kfac",
        "the part's forward: the last samples for the first",
        PARTIAL,
        "leaf[:samples] if",
        "leaf[-samples:] if",
        OF_PARTIAL,
    ),
    Mutant(
        "kfac",
        "the part's forward: the targets of the last samples",
        LAYERWISE,
        "targets[: part.shape[0]]",
        "targets[-part.shape[0] :]",
        OF_PARTIAL,
        "empirical",
    ),
    Mutant(
        "kfac",
        "the part's forward: a share of the part for the part",
        LAYERWISE,
        "targets[: part.shape[0]], 1.0",
        "targets[: part.shape[0]], share",
        OF_PARTIAL,
    ),
    Mutant(
        "kfac",
        "the part's forward: what was recorded is lost where it cannot be repeated",
        WATCHING,
        "            self._capture.uses = kept\n",
        "            pass\n",
        OF_PARTIAL,
    ),
    Mutant(
        "kfac",
        "the part's forward taken for one of the loop's own",
        WATCHING,
        "self._capture.take(), True, True",
        "self._capture.take(), True, False",
        OF_PARTIAL,
    ),
)

FACTORS_IN_BLOCKS = (
    Mutant(
        "kfac",
        "blocks joined in the wrong order",
        BLOCKS,
        "rows.reshape(groups, blocks, count, features).transpose(1, 2)",
        "rows.reshape(groups, blocks, count, features).flip(1).transpose(1, 2)",
        OF_BLOCKS,
    ),
    Mutant(
        "kfac",
        "blocks of every q-th feature for neighbouring ones",
        BLOCKS,
        "rows.reshape(groups, count, blocks, features).transpose(1, 2)",
        "rows.reshape(groups, count, features, blocks).permute(0, 3, 1, 2)",
        OF_BLOCKS,
    ),
    Mutant(
        "kfac",
        "G's blocks applied in the wrong order",
        BLOCKS,
        "torch.bmm(left, matrix.reshape(",
        "torch.bmm(left.flip(0), matrix.reshape(",
        OF_BLOCKS,
    ),
    Mutant(
        "kfac",
        "the bias column of a cut A not scaled",
        BLOCKS,
        "column if bias is None else column * bias[:, None, None]",
        "column",
        OF_BLOCKS,
    ),
    Mutant(
        "kfac",
        "the bias column of a cut A damped without π",
        KRONECKER,
        'state["bias_inverse"] = 1.0 / (1.0 + pi * root)\n        return True',
        'state["bias_inverse"] = 1.0 / (1.0 + root.expand_as(pi))\n        return True',
        OF_BLOCKS,
    ),
    Mutant(
        "kfac",
        "the exact form: the bias of a cut A has eigenvalue 0 for 1",
        KRONECKER,
        "values_a.new_ones(groups, 1)",
        "values_a.new_zeros(groups, 1)",
        OF_BLOCKS,
    ),
    Mutant(
        "kfac",
        "π from one block only",
        BLOCKS,
        ".reshape(groups, -1).mean(dim=1)",
        ".reshape(groups, -1, factor.shape[-1])[:, 0].mean(dim=1)",
        OF_BLOCKS,
    ),
    Mutant(
        "kfac",
        "π of another group where blocks are many",
        KRONECKER,
        "(root / pi).repeat_interleave(len(g) // groups)",
        "(root / pi).repeat(len(g) // groups)",
        OF_BLOCKS,
    ),
    Mutant(
        "kfac",
        "a channel's pixels torn apart by blocks",
        BLOCKS,
        "members = features // unit",
        "members = features",
        OF_BLOCKS,
    ),
    Mutant(
        "kfac",
        "twice as many blocks as needed",
        BLOCKS,
        "range(-(-features // limit), members + 1)",
        "range(2 * -(-features // limit), members + 1)",
        OF_BLOCKS,
    ),
)

REFRESHES_IN_TURNS = (
    Mutant(
        "kfac",
        "every layer refreshed in the same step",
        TURNS,
        "phase = loads.index(min(loads))",
        "phase = 0",
        OF_TURNS,
    ),
    Mutant(
        "kfac",
        "the steps' work counted in layers",
        TURNS,
        "loads[phase] += _work(layer)",
        "loads[phase] += 1",
        OF_TURNS,
    ),
    Mutant(
        "kfac",
        "the cheapest layers dealt out first",
        TURNS,
        "reverse=True",
        "reverse=False",
        OF_TURNS,
    ),
    Mutant(
        "kfac",
        "a layer waits for its turn with its first inverse",
        "grng/optim/natural.py",
        "due = observed and (turn or not has_inverse(state))",
        "due = observed and turn",
        OF_TURNS,
    ),
)

KFAC_SAVINGS = (
    *PART_OF_THE_BATCH,
    *FACTORS_IN_BLOCKS,
    *REFRESHES_IN_TURNS,
    Mutant(
        "kfac",
        "a saved state says nothing of the layers that no hook saw",
        LAYERWISE,
        "for index, p in enumerate(held) if p in self._excluded]",
        "for index, p in enumerate(held) if False]",
        OF_UNSEEN,
    ),
    Mutant(
        "kfac",
        "a layer that is found out displaces those found before",
        LAYERWISE,
        "{**self._excluded, **{layer.weight: reason",
        "{**{layer.weight: reason",
        OF_UNSEEN,
    ),
    Mutant(
        "kfac",
        "a layer without a gradient is taken for one that no hook saw",
        "grng/optim/gather.py",
        "if bool(gradient.detach().any()):",
        "if True:",
        OF_UNSEEN,
    ),
)
