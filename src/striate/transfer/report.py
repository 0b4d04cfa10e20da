"""What became of each tensor and how fast it learns: the account of a transfer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from striate.transfer.backbones import PREFIX
from striate.transfer.freezing import Learning, lies_in
from striate.transfer.stages import stages_of

_LISTED = 6  # tensors that a line names
_SHOWN = 12  # parameter groups that are shown


@dataclass
class TransferReport:
    """What an initialisation did to each tensor, under the network's names; plain data.

    Attributes:
        source: the weights, in words.
        loaded: copied from there; the resized ones among them.
        resized: what was done to tensors of another shape, by name.
        new: left as the network's own initialisation gave them.
        skipped: in the file and not loaded, since a rule leaves them out.
        frozen: parameters that never learn.
        stages: of each stage, from the picture on, its name, how many tensors were loaded, resized and are new, its
            parameters, the epoch from which on it learns (counted from 1; None: never), and its rates.
        groups: of each parameter group of the optimizer, its name, the rate and the decay before any schedule, and how
            many tensors and parameters are in it.
        notes: what else is to be said, a line each.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    resized: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def name_within(self, whole: nn.Module, part: nn.Module) -> None:
        """Names tensors as the whole network does, where a part of it, its backbone, got the weights."""
        if part is whole:
            return
        self.loaded, self.new = ([f"{PREFIX}{name}" for name in names] for names in (self.loaded, self.new))
        self.resized = {f"{PREFIX}{name}": how for name, how in self.resized.items()}
        self.new += [name for name in whole.state_dict() if not name.startswith(PREFIX)]

    def tell_shapes(self, said: Mapping[str, str]) -> None:
        """Notes what was loaded in another shape."""
        self.resized = {name: said[name] for name in self.loaded if name in said} | self.resized

    def tell_stages(self, network: nn.Module, learning: Learning) -> None:
        """Counts by stage, and notes from which epoch on each learns."""
        loaded, resized, new, frozen = set(self.loaded), set(self.resized), set(self.new), set(self.frozen)
        begins = {stage: 1 + index * learning.every for index, stage in enumerate(learning.waiting, start=1)}
        random = []
        for stage, modules in stages_of(network).items():
            tensors = {name for name in network.state_dict() if lies_in(name, modules)}
            parameters = {name: p for name, p in network.named_parameters() if lies_in(name, modules)}
            learns = [name for name, parameter in parameters.items() if parameter.requires_grad]
            self.stages.append(
                {
                    "stage": stage,
                    "loaded": len(tensors & loaded),
                    "resized": len(tensors & resized),
                    "new": len(tensors & new),
                    "frozen": len(frozen & parameters.keys()),
                    "parameters": sum(parameter.numel() for parameter in parameters.values()),
                    "learns_from": begins.get(stage, 1) if learns else None,
                }
            )
            if new & parameters.keys() and not learns and self.loaded:
                random.append(stage)
        if random:
            self.notes.append(f"{', '.join(random)}: new and frozen, that is, random filters that stay")

    def tell_rates(self, network: nn.Module, groups: Iterable[Mapping[str, Any]], rate: float, decay: float) -> None:
        """Notes the rate of each parameter group and stage.

        Args:
            network: whose stages were told.
            groups: as the task hands them to the optimizer, with a factor `rate` and a `weight_decay` of their own.
            rate: of the optimizer.
            decay: likewise.
        """
        rates: dict[nn.Parameter, float] = {}
        for group in groups:
            own = float(f"{rate * group.get('rate', 1.0):.12g}")
            rates |= dict.fromkeys(group["params"], own)
            self.groups.append(
                {
                    "name": group["name"],
                    "rate": own,
                    "weight_decay": group.get("weight_decay", decay),
                    "tensors": len(group["params"]),
                    "parameters": sum(parameter.numel() for parameter in group["params"]),
                }
            )
        for row, modules in zip(self.stages, stages_of(network).values(), strict=True):
            parameters = [p for module in modules for p in network.get_submodule(module).parameters()]
            row["rates"] = sorted({rates[p] for p in parameters if p in rates}, reverse=True)

    def __str__(self) -> str:
        def listed(names: Sequence[str]) -> str:
            return f" ({', '.join(names[:_LISTED])}{' …' if len(names) > _LISTED else ''})" if names else ""

        total = f"weights from {self.source}: {len(self.loaded)} tensors loaded"
        if self.loaded or self.skipped:
            total += f", {len(self.new)} newly initialised{listed(self.new)}, {len(self.skipped)} not used"
            total += listed(self.skipped)
        else:
            total = f"weights from {self.source}: {len(self.new)} tensors"
        total += f", {len(self.frozen)} frozen"
        changed = [f"{name} {how}" for name, how in self.resized.items()]
        return "\n".join([total, *changed, *self.notes, *_aligned(self._rows()), *_aligned(self._group_rows())])

    def _rows(self) -> list[list[str]]:
        if not self.stages:
            return []
        rows = [["stage", "", "loaded", "resized", "new", "parameters", "learns", "rate"]]
        for number, row in enumerate(self.stages, start=1):
            begins = row["learns_from"]
            learns = "never" if begins is None else "yes" if begins == 1 else f"from epoch {begins}"
            if row["frozen"] and begins is not None:
                learns += " in part"
            figures = [f"{row[key] or '-'}" for key in ("loaded", "resized", "new")]
            rates = ", ".join(f"{rate:.4g}" for rate in row.get("rates", ())) or "-"
            rows.append([str(number), row["stage"], *figures, f"{row['parameters']:,}", learns, rates])
        return rows

    def _group_rows(self) -> list[list[str]]:
        if len(self.groups) > _SHOWN:
            count = len({group["rate"] for group in self.groups})
            return [[f"{len(self.groups)} parameter groups of {count} rates: transfer.json"]]
        rows = [["group", "rate", "weight decay", "tensors", "parameters"]] if self.groups else []
        for group in self.groups:
            figures = [f"{group[key]:.4g}" for key in ("rate", "weight_decay")]
            rows.append([group["name"], *figures, *(f"{group[key]:,}" for key in ("tensors", "parameters"))])
        return rows


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns as wide as their longest entry, texts on the left, figures on the right."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = {index for index, title in enumerate(rows[0]) if title in ("", "learns", "group")}
    return [
        "  "
        + "  ".join(
            text.ljust(width) if index in texts else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
