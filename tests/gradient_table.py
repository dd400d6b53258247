"""Print what the gradient check finds, operator by operator, as a table: `python tests/gradient_table.py`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from gradient_check import GradientCase, GradientReport, check_gradients
from gradients import CASES

Row = tuple[GradientCase, int, GradientReport]


def main() -> None:
    """One line per operator, over all its cases; groups of nodes that the runtime fuses come last."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for case in CASES:
        for opset in case.opsets:
            report = check_gradients(case, opset)
            for operator in case.covers or ("(fused groups)",):
                rows[operator].append((case, opset, report))
    print("| operator | opsets | checks | ranks | original in | worst output | worst gradient |")
    print("|---|---|---|---|---|---|---|")
    for operator in sorted(rows):
        print("| " + " | ".join((operator, *_cells(rows[operator]))) + " |")


def _cells(rows: list[Row]) -> Iterator[str]:
    opsets = [opset for _, opset, _ in rows]
    ranks = {value.ndim for case, _, _ in rows for name, value in case.stored.items() if name in case.learned}
    yield f"{min(opsets)}-{max(opsets)}"
    yield str(len(rows))
    yield ", ".join(map(str, sorted(ranks)))
    yield ", ".join(sorted({report.precision for _, _, report in rows}))
    yield f"{max(report.forward_error for _, _, report in rows):.0e}"
    yield f"{max(error for _, _, report in rows for error in report.errors.values()):.0e}"


if __name__ == "__main__":
    main()
