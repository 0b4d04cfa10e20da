"""What became of each tensor: the account of a transfer."""

from dataclasses import dataclass, field

from torch import nn

from striate.transfer.backbones import PREFIX


@dataclass
class TransferReport:
    """What an initialisation did to each tensor."""

    source: str
    loaded: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)  # left as the network's own initialisation gave them
    skipped: list[str] = field(default_factory=list)  # in the file and not loaded: left out by a rule
    frozen: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def name_within(self, whole: nn.Module, part: nn.Module) -> None:
        """Names tensors as the whole network does, where a part of it, its backbone, got the weights."""
        if part is whole:
            return
        self.loaded, self.new = ([f"{PREFIX}{name}" for name in names] for names in (self.loaded, self.new))
        self.new += [name for name in whole.state_dict() if not name.startswith(PREFIX)]

    def __str__(self) -> str:
        def listed(names: list[str]) -> str:
            return f" ({', '.join(names[:6])}{' …' if len(names) > 6 else ''})" if names else ""

        return "\n".join(
            (
                f"weights from {self.source}: {len(self.loaded)} tensors loaded, {len(self.new)} newly initialised"
                f"{listed(self.new)}, {len(self.skipped)} not used{listed(self.skipped)}, {len(self.frozen)} frozen"
                f"{listed(self.frozen)}",
                *self.notes,
            )
        )
