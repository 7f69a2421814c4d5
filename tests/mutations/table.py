"""All mutants, by optimizer."""

from __future__ import annotations

from tests.mutations.controls import CONTROLS
from tests.mutations.joint import JOINT
from tests.mutations.kfac import KFAC
from tests.mutations.kfac_factors import KFAC_FACTORS
from tests.mutations.kfac_savings import KFAC_SAVINGS
from tests.mutations.loss_scale import LOSS_SCALE
from tests.mutations.mutant import Mutant
from tests.mutations.reng import RENG
from tests.mutations.ring import RING
from tests.mutations.rkalman import RKALMAN
from tests.mutations.rkalman_rows import RKALMAN_ROWS
from tests.mutations.sophia import SOPHIA

MUTANTS: tuple[Mutant, ...] = (
    *KFAC_FACTORS,
    *KFAC,
    *KFAC_SAVINGS,
    *RING,
    *RENG,
    *RKALMAN,
    *RKALMAN_ROWS,
    *SOPHIA,
    *CONTROLS,
    *JOINT,
    *LOSS_SCALE,
)
