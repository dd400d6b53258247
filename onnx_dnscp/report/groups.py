"""One row per set of channels: the prunable groups, and what is locked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from onnx_dnscp.report.record import RunFiles

_SHOWN_NAMES = 2  # nodes that a label names; the rest is counted


@dataclass(frozen=True)
class Row:
    """Channels that go or stay by one decision each, or together.

    Attributes:
        key: Unique on the page.
        name: How the page calls it.
        label: The nodes that read it, in few words.
        kept: Channels that are left; None where nothing has been decided yet.
        fell: How often channels fell while training.
        came_back: How often they came back.
        params_share: Share of the model's params that exist because of it; None for what is locked.
        macs_share: The same of MACs.
        reasons: Why it is locked, or what of it; empty for a free group.
    """

    key: str
    name: str
    label: str
    is_group: bool
    width: int
    kept: int | None
    consumers: tuple[str, ...]
    producers: tuple[str, ...]
    fell: int = 0
    came_back: int = 0
    params_share: float | None = None
    macs_share: float | None = None
    reasons: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()

    @property
    def is_locked(self) -> bool:
        """Whether nothing of it can go."""
        return not self.is_group

    @property
    def kept_share(self) -> float:
        """Of its width, 0..1."""
        return 1.0 if self.kept is None or not self.width else self.kept / self.width


def make_rows(run: RunFiles) -> list[Row]:
    """Groups in their order, then what is locked; without an inspection, the groups that the report knows."""
    fell, came_back = Counter[int](), Counter[int]()
    for event in run.log.history.events:
        if not event.settling:
            fell[event.group] += len(event.dropped)
            came_back[event.group] += len(event.recovered)
    if run.inspection is None:
        known = run.report.groups if run.report is not None else []
        return [
            Row(f"g{g.id}", f"Group {g.id}", few(g.consumers), True, g.width, g.kept, tuple(g.consumers), ())
            for g in known
        ]
    rows = [
        Row(
            key=f"g{group.id}",
            name=f"Group {group.id}",
            label=few(group.consumers),
            is_group=True,
            width=group.width,
            kept=run.kept.get(group.id),
            consumers=tuple(group.consumers),
            producers=tuple(group.producers),
            fell=fell[group.id],
            came_back=came_back[group.id],
            params_share=group.params_share,
            macs_share=group.macs_share,
            reasons=(f"{group.excluded} of {group.width} channels excluded by the user",) if group.excluded else (),
        )
        for group in run.inspection.groups
    ]
    locked = [
        entry for entry in run.inspection.locked if "excluded by the user" not in entry.reasons
    ]  # those are in their groups' rows
    return rows + [
        Row(
            key=f"l{number}",
            name=f"Locked {number}",
            label=few(entry.tensors),
            is_group=False,
            width=entry.width,
            kept=entry.width,
            consumers=tuple(entry.consumers),
            producers=tuple(entry.producers),
            reasons=tuple(entry.reasons),
            tensors=tuple(entry.tensors),
        )
        for number, entry in enumerate(locked)
    ]


def few(names: list[str] | tuple[str, ...]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
