"""Copies of an optimizer: `copy.deepcopy` and `pickle` keep all of it.

torch's own optimizers keep defaults, state and groups, which would lose step count, generator, factors' bookkeeping and
the model that is watched. Here a copy goes on like the original, bit for bit, on the copied model:

    model, optimizer = copy.deepcopy((model, optimizer))        # together, so that the copies belong together

A copy of the optimizer alone brings a copy of its model (`optimizer.model`), since it watches one. What was observed
for a step that is not yet taken is not copied, as torch does not copy `.grad`. Step hooks that the caller registered
are not copied either; that too is torch's rule.
"""

from __future__ import annotations

from typing import Any


class Copies:
    """Mixin of a torch optimizer, to be placed before it in the bases."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not _belongs_to_the_original(self, name, value)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        base: Any = super()
        base.__setstate__(state)
        if "defaults" in state:  # else it is load_state_dict, which sets state and groups by this method too
            self._copied()

    def _copied(self) -> None:
        """Finish a copy: what cannot be copied is made anew."""


def _belongs_to_the_original(optimizer: Copies, name: str, value: Any) -> bool:
    """Whether an attribute is torch's table of hooks, or a method that someone has replaced on this one instance.

    LambdaLR does the latter to `step`; a copy with that attribute would step the original.
    """
    return name.startswith("_optimizer_") or (callable(value) and hasattr(type(optimizer), name))
