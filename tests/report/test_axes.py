from __future__ import annotations

import math

import pytest

from grng.report.axes import Axis


@pytest.mark.parametrize(
    ("axis", "edges"),
    [
        (Axis("lr", 1e-3, 1e-1, "log"), [1e-3, 10**-2.5, 1e-2, 10**-1.5, 1e-1]),
        (Axis("momentum", 0.8, 1.0, "linear"), [0.8, 0.85, 0.9, 0.95, 1.0]),
    ],
)
def test_a_range_is_cut_into_equal_parts_on_its_scale(axis: Axis, edges: list[float]) -> None:
    for cell in range(4):
        begin, end = edges[cell], edges[cell + 1]
        inside = [begin * 1.0001, (begin + end) / 2, end * 0.9999]
        assert [axis.place(value, 4) for value in inside] == [cell] * 3
    assert (axis.place(edges[0], 4), axis.place(edges[-1], 4)) == (0, 3), "both ends belong to it"
    assert axis.labels(4)[0] == f"{edges[0]:.2g}–{edges[1]:.2g}"


@pytest.mark.parametrize("axis", [Axis("n", 0, 9, whole=True), Axis("n", 1, 1000, "log", whole=True)])
@pytest.mark.parametrize("cells", [2, 3, 4, 5, 6])
def test_the_labels_of_whole_numbers_say_where_each_is_placed(axis: Axis, cells: int) -> None:
    labels = axis.labels(cells)
    for value in range(int(axis.low), int(axis.high) + 1):
        first, _, last = labels[axis.place(value, cells)].partition("–")
        assert int(first) <= value <= int(last or first)


def test_few_values_have_a_cell_each() -> None:
    axis = Axis("damping", 1e-3, 1.0, values=(1e-3, 0.1, 1.0))
    assert axis.cells(5) == 3
    assert [axis.place(value, 3) for value in axis.values] == [0, 1, 2]
    assert axis.labels(3) == ["0.001", "0.1", "1"]


@pytest.mark.parametrize(
    "axis", [Axis("lr", 1e-3, 1e-1, "log"), Axis("n", 1, 3, values=(1.0, 2.0, 3.0), whole=True), Axis("m", 0.0, 1.0)]
)
def test_a_document_is_the_axis(axis: Axis) -> None:
    assert Axis.of(axis.name, axis.document()) == axis
    assert all(math.isfinite(axis.document()[end]) for end in ("low", "high"))
