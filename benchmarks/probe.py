"""A linear probe: features that are computed once, against a forward pass over the pictures in every epoch.

    python benchmarks/probe.py

An epoch of the probe is one iteration of its solver, which sees every feature vector once; one epoch of training the
head alone sees every picture, through the whole network. Both as `python src/probe.py` has them, one thread, in seconds
of the processor's time. The whole: features once and all iterations, against as many passes over the pictures.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import pictures
from measuring import Case, Row, interleaved, options, pack_overrides, report

LEAST = 10.0
MODELS = ("lenet5_modern", "resnet20")


@dataclass
class Probed:
    """A network whose training pictures' features are computed, then classified.

    Args:
        model: of `conf/model`.
        pack: the pictures.
    """

    model: str
    pack: Path
    iterations: int = 0  # of the last fit
    _features: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        import torch

        from striate.configuration import compose, plain
        from striate.pipelines.subject import subject_of

        torch.set_num_threads(1)
        words = {**pack_overrides(self.pack), "model": self.model, "num_workers": 0, "device": "cpu"}
        config = plain(compose("probe", [f"{key}={value}" for key, value in words.items()]))
        self.subject = subject_of(config, torch.device("cpu"))

    def passed(self) -> float:
        """Seconds of one pass over the pictures."""
        from striate.pipelines import features
        from striate.transfer.features import probed_stages

        stages = probed_stages(self.subject.network, "last")
        return timed(lambda: self._features.update(features._computed(self.subject, "train", stages, 1024)))

    def fitted(self) -> float:
        """Seconds of fitting the classifier to the features of the last pass."""
        from sklearn.linear_model import LogisticRegression

        (vectors,) = self._features.values()
        labels = self.subject.data.dataset("train").targets
        known = (vectors - vectors.mean(0)) / vectors.std(0).clip(1e-6)
        model = LogisticRegression(C=0.01, max_iter=500)
        seconds = timed(lambda: model.fit(known, labels))
        self.iterations = int(model.n_iter_.max())
        return seconds


def timed(work: Callable[[], object]) -> float:
    """Seconds of the processor's time."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(folder: Path, repetitions: int, quick: bool, models: tuple[str, ...] = MODELS) -> list[Row]:
    """Two rows a network."""
    from threadpoolctl import threadpool_limits

    rows = []
    for model in models:
        size, channels = (28, 1) if model.startswith("lenet") else (32, 3)
        count = 200 if quick else 5_000
        pack = pictures.array_pack(folder / f"probe_{model}_{count}", size, channels, count)
        with threadpool_limits(1):
            probed = Probed(model, pack)
            figures = interleaved([Case("pass", probed.passed), Case("fit", probed.fitted)], repetitions)
        passes, fits, epochs = figures["pass"], figures["fit"], probed.iterations
        what = f"linear probe, {model}, {count:,} pictures"
        each = tuple(fit / epochs for fit in fits)
        whole = tuple(once + fit for once, fit in zip(passes, fits, strict=True))
        rows += [
            Row(f"{what}: an epoch", "s", each, "forward pass", passes, least=LEAST),
            Row(f"{what}: features and {epochs} epochs", "s", whole, f"{epochs} forward passes",
                tuple(epochs * once for once in passes), least=LEAST),
        ]  # fmt: skip
    return rows


def main() -> None:
    chosen = options(__doc__, repetitions=3).parse_args()
    with pictures.workplace(chosen.folder) as folder:
        rows = measure(folder, 1 if chosen.quick else chosen.repetitions, chosen.quick)
    report("A linear probe on features computed once", rows, chosen.json)


if __name__ == "__main__":
    main()
