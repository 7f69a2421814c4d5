"""What to do when memory ran out, from the config of the run alone."""

from __future__ import annotations

from grng.runs.config import RunConfig

_SHARE = "curvature_batch"


def memory_hint(config: RunConfig) -> str:
    """Return what to type so that a resolved config's run needs less memory.

    The way that leaves the step what it is comes first. Each of them makes another run, which does not go on from this
    one's checkpoint.
    """
    training = config.training
    ways = []
    parts = next((n for n in _divisors(training.batch_size) if n > training.grad_accum), None)
    if parts is not None:
        ways.append(f"--grad-accum {parts} (now {training.grad_accum}; the batch stays {training.batch_size})")
    if training.batch_size > 1:
        ways.append(f"--batch-size {training.batch_size // 2} (now {training.batch_size})")
    share = config.optimizer.hyperparameters.get(_SHARE)
    if isinstance(share, (int, float)) and not isinstance(share, bool) and share > 0:
        named = f"{_SHARE}={share / 2:g}"
        ways.append(f"--opt {named} (now {share:g}; in a comparison {config.optimizer.name}[{named}])")
    again = "If other programs took the memory, the same command goes on."
    if not ways:
        return again
    return f"Give {', or '.join(ways)}, and another --output: it is another run. {again}"


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
