"""What a report's runs are asked: by its own options, or else as `experiment.yaml` says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grng.errors import ConfigError, GrngError, RunDirectoryError
from grng.experiments.claims.config import ClaimConfig
from grng.experiments.claims.statements import Claim, parse_claim, parse_claims
from grng.experiments.record import Record, read_record
from grng.report.records import Run
from grng.statistics import IntervalKind

KINDS: tuple[IntervalKind, ...] = ("t", "bootstrap")


@dataclass(frozen=True, slots=True)
class Questions:
    """What a report is to answer besides its table.

    Attributes:
        claims: To be tested.
        margin: Largest difference in test accuracy that does not matter; None: equivalence is not tested.
        interval: What intervals are.
        warnings: Stored claims that these runs cannot answer.
    """

    claims: tuple[Claim, ...] = ()
    margin: float | None = None
    interval: IntervalKind = "t"
    warnings: tuple[str, ...] = ()


def questions_of(
    labels: Sequence[str],
    runs: Sequence[Run],
    *,
    claims: Sequence[str] = (),
    margin: float | None = None,
    interval: str | None = None,
) -> Questions:
    """Return what the runs are asked; what is given replaces what is stored.

    Args:
        labels: The rows of the report.
        runs: Its runs, of all workloads.
        claims: As given by the user.
        margin: As given by the user.
        interval: As given by the user.

    Raises:
        GrngError: Something given is not valid.
    """
    if margin is not None and not 0 < margin < 1:
        raise GrngError(f"must lie between 0 and 1, not {margin:g}.", where="--margin", hint="0.005 is half a point.")
    kind: IntervalKind | None = next((one for one in KINDS if one == interval), None)
    if interval is not None and kind is None:
        raise GrngError(f"must be t or bootstrap, not {interval!r}.", where="--interval")
    given = parse_claims([_config(text) for text in claims], labels, locate=lambda key: "--claim")
    records = _records(runs)
    warnings: list[str] = []
    if not given:
        stored = dict.fromkeys((one.claim, one.name) for record in records for one in record.claims)
        for text, name in stored:
            try:
                given.append(parse_claim(ClaimConfig(claim=text, name=name), labels))
            except GrngError as error:
                warnings.append(f"the claim {text!r} is left out: {error.message.partition(' (column')[0]}")
    return Questions(
        tuple(given),
        margin or next((record.margin for record in records if record.margin), None),
        kind if kind is not None else records[0].interval if records else "t",
        tuple(warnings),
    )


def _config(text: str) -> ClaimConfig:
    if not text:
        raise ConfigError([GrngError("must not be empty.", where="--claim")])
    return ClaimConfig(claim=text)


def _records(runs: Sequence[Run]) -> list[Record]:
    """Return what is stored in the experiment directories of the runs; the table warns of those that are damaged."""
    found = []
    for root in dict.fromkeys(run.root for run in runs if run.root is not None):
        try:
            record = read_record(root)
        except RunDirectoryError:
            continue
        if record is not None:
            found.append(record)
    return found
