"""Runs of tuned comparisons that only compute their result, and leave it where the trainer would."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grng.experiments.compare import Comparison, Prepared, compare, prepare
from grng.experiments.compare_config import CompareConfig
from grng.experiments.pool.executor import InProcessExecutor
from grng.runs.config import RunConfig
from grng.runs.identity import run_id
from grng.runs.loading import dump_yaml
from grng.runs.result import Final, Pairing, RunResult, Target
from tests.experiments.runners import Scored, result_of

Score = Callable[[RunConfig], float | None]

SMALL: dict[str, Any] = {
    "optimizers": "adamw,sgd",
    "seeds": 2,
    "tune": 3,
    "dataset": "digits",
    "model": "test_vit",
    "workers": 0,
}


class Fake(Scored):
    """Leaves its result where the trainer would."""

    def result(self, config: RunConfig, directory: Path, accuracy: float | None) -> RunResult:
        batches = hashlib.sha256(str(config.seed).encode()).hexdigest()
        result = result_of(config).model_copy(
            update={
                "run_id": run_id(config),
                "hyperparameters": config.optimizer.hyperparameters,
                "target": Target(accuracy=config.training.target),
                "pairing": Pairing(init_sha256=batches, batches_sha256=batches),
            }
        )
        if accuracy is None:
            result = result.model_copy(update={"status": "diverged", "reason": "nan"})
        else:
            final = Final(val_accuracy=accuracy, val_loss=1 - accuracy, test_accuracy=accuracy, test_loss=1 - accuracy)
            result = result.model_copy(update={"final": final})
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.yaml").write_text(dump_yaml(config))
        result.save(directory / "result.json")
        return result


def ready(output: Path, **given: Any) -> Prepared:
    """Prepare a comparison of two optimizers that are tuned with three trials each."""
    return prepare(CompareConfig.model_validate({**SMALL, "output": str(output), **given}))


def run(prepared: Prepared, score: Score | Fake, **given: Any) -> Comparison:
    """Do a comparison with such runs."""
    runner = score if isinstance(score, Fake) else Fake(score)
    return compare(prepared, executor=InProcessExecutor(runner=runner), **given)


def falling(config: RunConfig) -> float:
    """A validation accuracy that is highest where lr is lowest."""
    return 0.9 / (1 + float(config.optimizer.hyperparameters["lr"]))
