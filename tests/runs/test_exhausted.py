from __future__ import annotations

from typing import Any

import pytest

from grng.optimizers import list_optimizers
from grng.runs.config import RunConfig, resolve
from grng.runs.exhausted import memory_hint


def hint(optimizer: Any = "sgd", **training: Any) -> str:
    config = {"dataset": "digits", "optimizer": optimizer, "training": training}
    return memory_hint(resolve(RunConfig.model_validate(config)))


def test_it_says_what_to_type() -> None:
    assert hint(batch_size=32) == (
        "Give --grad-accum 2 (now 1; the batch stays 32), or --batch-size 16 (now 32), and another --output: "
        "it is another run. If other programs took the memory, the same command goes on."
    )
    assert "--grad-accum 5 (now 3; the batch stays 15)" in hint(batch_size=15, grad_accum=3)
    assert hint(batch_size=1) == "If other programs took the memory, the same command goes on."


@pytest.mark.parametrize("name", [info.name for info in list_optimizers()] + ["timm:lamb"])
def test_the_share_of_the_batch_is_named_for_those_that_have_it(name: str) -> None:
    config = resolve(RunConfig.model_validate({"dataset": "digits", "optimizer": name}))
    share = config.optimizer.hyperparameters.get("curvature_batch")
    text = memory_hint(config)
    assert ("curvature_batch" in text) == (share is not None)
    if share is not None:
        half = f"curvature_batch={share / 2:g}"
        assert f"--opt {half} (now {share:g}; in a comparison {name}[{half}])" in text
        resolve(RunConfig.model_validate({"optimizer": {"name": name, "curvature_batch": share / 2}}))
