"""What frozen stages cost: a training step of the head alone against its floor, and against one of all layers.

    python benchmarks/freezing.py

The floor is what cannot be left out: a forward pass without a graph through everything but the head, the head's forward
and backward pass, and its update. One thread, in seconds of the processor's time.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from measuring import Case, Row, interleaved, options, report

# Name, side and number of the pictures of a step.
NETWORKS = (("resnet18", 64, 16), ("vgg16_bn", 32, 16), ("mobilenet", 64, 16))
FLOOR, ALL = 0.9, 2.0


def network_of(model: str, side: int, init: dict[str, object]):
    """A network for ten classes, frozen as an `init` group says."""
    import torch

    from striate.configuration import build
    from striate.configuration.schema import Init
    from striate.pipelines.counting import options as models
    from striate.transfer.freezing import freeze, learning_of

    torch.manual_seed(0)
    small = {"pooled_size": 1, "hidden": 256} if model.startswith("vgg") and side == 32 else {}
    network = build({**models()[model], **small}, "model", num_classes=10, in_channels=3)
    network.train()
    freeze(network, learning_of(network, Init("none", **init)).frozen)
    return network


def step_of(network, side: int, count: int, steps: int) -> Callable[[], float]:
    """Measures some steps over the same pictures, as seconds a step."""
    import torch
    import torch.nn.functional as F

    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 3, side, side, generator=generator)
    targets = torch.arange(count) % 10
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.001, momentum=0.9)

    def measure() -> float:
        start = time.process_time()
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
        return (time.process_time() - start) / steps

    return measure


def floor_of(network, side: int, count: int, steps: int) -> Callable[[], float]:
    """The same for the classifier alone, behind a body that is at evaluation."""
    import torch
    from torch import nn

    head, body = network.get_submodule(network.classifier_name), network.eval()
    body.set_submodule(network.classifier_name, nn.Identity())

    class Floor(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = head

        def forward(self, x):
            with torch.no_grad():
                x = body(x)
            return self.head(x.flatten(1))

    return step_of(Floor(), side, count, steps)


def measure(repetitions: int, quick: bool, networks=NETWORKS) -> list[Row]:
    """Two rows a network."""
    import torch

    torch.set_num_threads(1)
    rows = []
    for model, side, count in networks:
        count, steps = (2, 1) if quick else (count, 4)
        cases = [
            Case("head", step_of(network_of(model, side, {"train": "head"}), side, count, steps)),
            Case("floor", floor_of(network_of(model, side, {}), side, count, steps)),
            Case("all", step_of(network_of(model, side, {}), side, count, steps)),
        ]
        figures = interleaved(cases, repetitions)
        what = f"a step of the head alone, {model}, {count} pictures of {side}×{side}"
        rows += [
            Row(what, "s", figures["head"], "floor", figures["floor"], least=FLOOR),
            Row(what, "s", figures["head"], "all layers", figures["all"], least=ALL),
        ]
    return rows


def main() -> None:
    chosen = options(__doc__).parse_args()
    report("Frozen stages", measure(1 if chosen.quick else chosen.repetitions, chosen.quick), chosen.json)


if __name__ == "__main__":
    main()
