"""Mistakes in what several processes exchange; one run of two processes for each of them."""

from __future__ import annotations

from tests.mutations.mutant import Mutant

BASE, PROCESSES, JOINING = "grng/optim/base.py", "grng/optim/processes.py", "grng/optim/joining.py"
TESTS = ("tests/optim/test_processes.py",)

JOINT = (
    Mutant(
        "sophia-g",
        "several processes: samples not joined",
        BASE,
        "self.samples = round(self.processes.totals([self.samples])[0])",
        "pass",
        TESTS,
        "joined_batch and sophia-g",
    ),
    Mutant(
        "kfac",
        "several processes: the diagonal's samples not joined",
        JOINING,
        "statistics.samples = round(processes.totals([statistics.samples])[0])",
        "pass",
        TESTS,
        "joined_batch and kfac",
    ),
    Mutant(
        "kfac",
        "several processes: the factors' counts not joined",
        JOINING,
        "one.fill(samples=samples, input_rows=rows)",
        "one.fill(samples=one.samples, input_rows=one._input_rows)",
        TESTS,
        "joined_batch and kfac",
    ),
    Mutant(
        "kfac",
        "several processes: the factors' sums not joined",
        JOINING,
        "one.replace(next(joined), next(joined))",
        "pass",
        TESTS,
        "joined_batch and kfac",
    ),
    Mutant(
        "kfac",
        "several processes: squared gradients not joined",
        "grng/optim/blocks.py",
        "totals = processes.summed([_no_squares(layer) if own is None else own for layer, _, own, _ in used])",
        "totals = [_no_squares(layer) if own is None else own for layer, _, own, _ in used]",
        TESTS,
        "joined_batch and kfac and corrected",
    ),
    Mutant(
        "kfac",
        "several processes: every one takes the first one's uniforms",
        PROCESSES,
        "start = sum(sizes[: self.rank])",
        "start = 0",
        TESTS,
        "joined_batch and kfac",
    ),
    Mutant(
        "kfac",
        "several processes: every one draws for itself",
        BASE,
        "total, own = self.place_in_batch(shape[0])",
        "total, own = shape[0], slice(None)",
        TESTS,
        "joined_batch and kfac",
    ),
    Mutant(
        "reng",
        "several processes: H g not averaged",
        "grng/optim/regularised.py",
        "product = self.processes.averaged(own)",
        "product = own",
        TESTS,
        "joined_batch and reng",
    ),
    Mutant(
        "sophia-h",
        "several processes: H u not averaged",
        "grng/optim/sophia.py",
        "products = self.processes.averaged(own)",
        "products = own",
        TESTS,
        "joined_batch and sophia-h",
    ),
    Mutant(
        "reng",
        "several processes: g is the sum for the mean",
        PROCESSES,
        "means = self.averaged(",
        "means = self.summed(",
        TESTS,
        "joined_batch and reng",
    ),
    Mutant(
        "gr-sgd",
        "several processes: a parameter that one alone used is not averaged",
        PROCESSES,
        "used = self.any_of([p.grad is not None for p in parameters])",
        "used = [total == self.size for total in self.totals([float(p.grad is not None) for p in parameters])]",
        TESTS,
        "joined_batch and gr-sgd",
    ),
)
