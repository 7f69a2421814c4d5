"""The examples below the `--help` of each command: lines that one can type as they stand, once their files exist."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "": (
        "grng compare --smoke",
        "grng train --optimizer ring --model test_resnet",
        "grng optimizers show ring",
    ),
    "train": (
        "grng train --optimizer ring --opt rho=0.01 --epochs 5",
        "grng train --model vit_tiny_patch16_224 --dataset folder --data-dir pictures",
        "grng train --config my.yaml --set training.batch_size=64 --plot",
    ),
    "compare": (
        "grng compare --optimizers adamw,ring --seeds 5",
        "grng compare --optimizers adamw,'ring\\[rho=0.1]' --epochs 10 --plot",
        "grng compare --tune 20 --expect 'ring.test_accuracy > 0.9'",
    ),
    "sweep": (
        "grng sweep --optimizer ring --trials 20",
        "grng sweep --optimizer adamw --space 'lr=log(1e-4,1e-1)' --trials 30",
    ),
    "report": (
        "grng report runs/compare-1a2b3c4d --plot",
        "grng report runs/compare-1a2b3c4d --markdown table.md --csv table.csv",
    ),
    "replay": (
        "grng replay runs/ring-1a2b3c4d",
        "grng replay runs/compare-1a2b3c4d/ring/seed0 --output again --json",
    ),
    "env": ("grng env", "grng env --json"),
    "optimizers list": ("grng optimizers list",),
    "optimizers show": ("grng optimizers show ring", "grng optimizers show timm:lamb"),
    "models list": ("grng models list 'vit*'", "grng models list 'resnet*' --pretrained"),
    "datasets list": ("grng datasets list",),
    "config list": ("grng config list",),
    "config show": ("grng config show train/ring",),
    "config check": ("grng config check my.yaml train/ring",),
    "config schema": ("grng config schema compare > compare.schema.json",),
}
"""By command, in the words that follow `grng`; brackets are escaped for Typer's markup."""


def epilog(command: str) -> str:
    """Return the examples of a command as Typer takes them: a blank line ends a line there."""
    return "\n\n".join(["Examples:", *(f"  {line}" for line in EXAMPLES[command])])
