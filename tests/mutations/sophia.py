"""Mistakes in Sophia-G and Sophia-H."""

from __future__ import annotations

from tests.mutations.mutant import Mutant

FILE = "grng/optim/sophia.py"
TESTS, CONTRACT = ("tests/optim/test_sophia.py",), ("tests/optim/test_contract.py",)


def _of_both(mistake: str, before: str, after: str) -> tuple[Mutant, Mutant]:
    """A mistake in what both share, to be noticed by the reference of each."""
    return (
        Mutant("sophia-g", mistake, FILE, before, after, TESTS, "reference and gnb"),
        Mutant("sophia-h", mistake, FILE, before, after, TESTS, "reference and hutchinson"),
    )


SOPHIA = (
    Mutant(
        "sophia-g",
        "a dropped factor B",
        FILE,
        "diagonal.estimate(self.samples)",
        "diagonal.estimate(self.samples**2)",
        TESTS,
        "gnb",
    ),
    Mutant(
        "sophia-g",
        "labels taken from the data",
        FILE,
        "cotangent, _ = self.sampled_cotangent(outputs)",
        "cotangent = self.likelihood.output_gradient(outputs.detach(), targets)",
        TESTS,
        "gnb",
    ),
    Mutant(
        "sophia-h",
        "H u for u ⊙ H u",
        FILE,
        "{p: wide(probe) * wide(product) for",
        "{p: wide(product) for",
        TESTS,
        "hutchinson",
    ),
    Mutant(
        "sophia-h",
        "|u ⊙ H u|: negative curvature taken for positive",
        FILE,
        "{p: wide(probe) * wide(product) for",
        "{p: (wide(probe) * wide(product)).abs() for",
        TESTS,
        "hutchinson",
    ),
    Mutant(
        "sophia-h",
        "u not normal",
        FILE,
        "torch.randn(p.shape, generator=self.generator",
        "torch.rand(p.shape, generator=self.generator",
        TESTS,
        "hutchinson",
    ),
    Mutant(
        "sophia-h",
        "H g for H u",
        FILE,
        "list(gradients.values()), parameters, probes,",
        "list(gradients.values()), parameters, [g.detach() for g in gradients.values()],",
        TESTS,
        "hutchinson",
    ),
    *_of_both(
        "max(γh, ε) replaced by γh + ε",
        '(group["gamma"] * state["hessian"]).clamp(min=group["eps"])',
        '(group["gamma"] * state["hessian"] + group["eps"])',
    ),
    *_of_both("γ dropped", '(group["gamma"] * state["hessian"])', '(state["hessian"])'),
    *_of_both(
        "β₂ and 1 − β₂ swapped",
        ".mul_(beta2).add_(estimates[p], alpha=1.0 - beta2)",
        ".mul_(1.0 - beta2).add_(estimates[p], alpha=beta2)",
    ),
    *_of_both("β₁ and β₂ swapped", 'beta1, beta2 = group["betas"]', 'beta2, beta1 = group["betas"]'),
    *_of_both(
        "the momentum without its factor 1 − β₁", "gradients[p].detach(), alpha=1.0 - beta1", "gradients[p].detach()"
    ),
    *_of_both(
        "a bias correction that the paper does not have",
        "step = momentum / (",
        "step = momentum / (1.0 - beta1 ** (self.steps + 1)) / (",
    ),
    *_of_both("the step not clipped", "step.clamp_(-1.0, 1.0)", "step"),
    *_of_both("weight decay dropped", 'p.mul_(1.0 - group["lr"] * group["weight_decay"])', "pass"),
    *_of_both(
        "a stale curvature: estimated once and never again",
        "if p in estimates:",
        'if p in estimates and not state["hessian"].any():',
    ),
    *_of_both(
        "hessian_interval off by one step",
        "return self.steps % self.hessian_interval == 0",
        "return (self.steps + 1) % self.hessian_interval == 0",
    ),
    Mutant(
        "sophia-h",
        "a loaded state forgets the generator",
        "grng/optim/base.py",
        'self.generator.set_state(extra.pop("generator").cpu())',
        'extra.pop("generator")',
        CONTRACT,
        "saved_and_loaded and sophia-h",
    ),
    Mutant(
        "sophia-g",
        "a loaded state forgets the generator",
        "grng/optim/base.py",
        'self.generator.set_state(extra.pop("generator").cpu())',
        'extra.pop("generator")',
        CONTRACT,
        "saved_and_loaded and sophia-g",
    ),
    Mutant(
        "sophia-g",
        "the samples of the last micro-batch only",
        "grng/optim/base.py",
        "self.samples += outputs.shape[0]",
        "self.samples = outputs.shape[0]",
        ("tests/optim/test_observation.py",),
        "micro_batches and sophia-g",
    ),
)
