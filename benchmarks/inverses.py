"""Cholesky, eigendecomposition and Newton's iteration on damped Kronecker factors of growing size: time and accuracy.

The factors are second moments of correlated features, as a layer's inputs are, damped to a given condition. Newton is
measured cold (from I/‖M‖) and warm (from the inverse of a factor that one moving average's step lies behind). Times are
medians in milliseconds; the residual is ‖I − M X‖_F / √n, computed in float64.

    python benchmarks/inverses.py --markdown docs/results/inverses.md
    python benchmarks/inverses.py --device cuda --sizes 256,1024,4096
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from grng import __version__
from grng.curvature.inverse import cholesky_inverse, eigen_inverse, newton_inverse

EMA = 0.95


def factor(size: int, condition: float, generator: torch.Generator, device: str) -> tuple[Tensor, Tensor]:
    """Return a damped factor `[1, n, n]` in float32, and the one of which it is the next moving average."""
    scales = torch.logspace(0, -0.5 * float(torch.tensor(condition).log10()), size)
    mixing = torch.linalg.qr(torch.randn(size, size, generator=generator))[0]
    rows = [torch.randn(2 * size, size, generator=generator) * scales @ mixing for _ in range(2)]
    first, second = (part.mT @ part / len(part) for part in rows)
    damping = float(torch.linalg.eigvalsh(first)[-1]) / condition * torch.eye(size)
    before, after = first + damping, EMA * first + (1.0 - EMA) * second + damping
    return after[None].to(device), before[None].to(device)


def milliseconds(call: Callable[[], object], device: str, repeats: int) -> float:
    """Return the median time of a call."""
    spent = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - started)
    return 1e3 * statistics.median(spent)


def residual(matrix: Tensor, inverse: Tensor | None) -> str:
    """Return ‖I − M X‖_F / √n."""
    if inverse is None:
        return "failed"
    size = matrix.shape[-1]
    identity = torch.eye(size, dtype=torch.float64, device=matrix.device)
    return f"{float(torch.linalg.matrix_norm(identity - matrix.double() @ inverse.double())[0]) / size**0.5:.0e}"


def row(size: int, condition: float, device: str, generator: torch.Generator) -> list[str]:
    """Measure one size at one condition."""
    after, before = factor(size, condition, generator, device)
    start = cholesky_inverse(before)
    repeats = 5 if size > 512 else 15
    cells = [str(size), f"{condition:.0e}"]
    calls: list[Callable[[], Tensor | None]] = [lambda: cholesky_inverse(after), lambda: eigen_inverse(after)]
    calls += [lambda: newton_inverse(after)[0], lambda: newton_inverse(after, start)[0]]
    for number, call in enumerate(calls):
        call()  # warms up
        spent = milliseconds(call, device, repeats if number == 0 else 3)
        cells.append(f"{spent:.2f} ({residual(after, call())})")
    return cells


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="64,192,432,768,1536")
    parser.add_argument("--conditions", default="1e2,1e4")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    head = ["n", "condition", "Cholesky", "eigendecomposition", "Newton, cold", "Newton, warm"]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head))]
    for size in arguments.sizes.split(","):
        for condition in arguments.conditions.split(","):
            cells = row(int(size), float(condition), arguments.device, generator)
            lines.append("| " + " | ".join(cells) + " |")
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else f"one thread, {platform.machine()}"
    lines += ["", f"Milliseconds (residual), float32, {where}, torch {torch.__version__}, grng {__version__}."]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.markdown:
        title = "# Inverting a damped factor\n\n"
        title += "Made by `python benchmarks/inverses.py`; what is measured stands there.\n\n"
        arguments.markdown.write_text(title + text, encoding="utf-8")


if __name__ == "__main__":
    main()
