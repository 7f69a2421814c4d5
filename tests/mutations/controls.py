"""Mistakes in the controls: gr-sgd, gr-adamw and sam."""

from __future__ import annotations

from tests.mutations.mutant import Mutant

FILE, HESSIAN = "grng/optim/controls.py", "grng/optim/hessian.py"
REGULARISED, REPLACED = "grng/optim/regularised.py", "grng/optim/replaced.py"
TESTS, SCHEDULE = ("tests/optim/test_controls.py",), ("tests/optim/test_regularised.py",)

CONTROLS = (
    *(
        mutant
        for name in ("gr-sgd", "gr-adamw")
        for mutant in (
            Mutant(
                name,
                "ρ/2 for ρ",
                REGULARISED,
                "gradient + product[p] for",
                "gradient + 0.5 * product[p] for",
                TESTS,
                name,
            ),
            Mutant(
                name,
                "regularize_every without its factor k",
                REGULARISED,
                'self.regularize_every * group["rho"]',
                'group["rho"]',
                SCHEDULE,
                name,
            ),
            Mutant(
                name,
                "rho_warmup_steps off by one step",
                REGULARISED,
                "self.steps >= self.rho_warmup_steps",
                "self.steps > self.rho_warmup_steps",
                SCHEDULE,
                name,
            ),
            Mutant(
                name,
                "a group's ρ ignored",
                REGULARISED,
                'self.regularize_every * group["rho"]',
                'self.regularize_every * self.defaults["rho"]',
                SCHEDULE,
                name,
            ),
            Mutant(
                name,
                "the rule steps with g for g + ρ H g",
                REPLACED,
                "                p.grad = vector\n",
                "                p.grad = own[p]\n",
                TESTS,
                name,
            ),
            Mutant(
                name,
                ".grad left at g + ρ H g",
                REPLACED,
                "                p.grad = gradient\n",
                "                pass\n",
                TESTS,
                name,
            ),
        )
    ),
    Mutant(
        "gr-adamw",
        "ε not passed on",
        FILE,
        "lr=lr, betas=betas, eps=eps, weight_decay=weight_decay",
        "lr=lr, betas=betas, weight_decay=weight_decay",
        TESTS,
        "gr-adamw",
    ),
    Mutant(
        "sam",
        "the weights left at the moved ones",
        HESSIAN,
        "                p.copy_(value)\n",
        "                pass\n",
        TESTS,
        "sam",
    ),
    Mutant("sam", "r g for r g/‖g‖", FILE, "gradient * (radius[p] / norm)", "gradient * radius[p]", TESTS, "sam"),
    Mutant(
        "sam",
        "each tensor's own norm for that of all",
        FILE,
        "gradient * (radius[p] / norm)",
        "gradient * (radius[p] / gradient.norm())",
        TESTS,
        "sam",
    ),
    Mutant(
        "sam",
        "downhill for uphill",
        FILE,
        "gradient * (radius[p] / norm)",
        "gradient * (-radius[p] / norm)",
        TESTS,
        "sam",
    ),
    Mutant(
        "sam",
        "a group's radius ignored",
        FILE,
        'radius = {p: group["radius"] for',
        'radius = {p: self.defaults["radius"] for',
        TESTS,
        "radius or sam",
    ),
    Mutant(
        "sam",
        "the second pass draws other dropout masks",
        HESSIAN,
        "        set_random_state(model, forward_state)\n",
        "        pass\n",
        TESTS,
        "sam",
    ),
    Mutant(
        "sam",
        "the second pass leaves its BatchNorm statistics",
        HESSIAN,
        "                buffer.copy_(saved)\n",
        "                pass\n",
        TESTS,
        "sam",
    ),
    Mutant(
        "sam",
        "the second pass leaves its random state",
        HESSIAN,
        "        set_random_state(model, after)\n",
        "        pass\n",
        ("tests/optim/test_hessian.py",),
        "sam",
    ),
    Mutant(
        "sam",
        "the closure's gradients added to those of the first pass",
        HESSIAN,
        "            p.grad = None  # the closure may accumulate\n",
        "            pass\n",
        TESTS,
        "sam",
    ),
)
