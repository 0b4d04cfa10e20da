"""Lightning as lightning-hydra-template has it: a plain DataModule, a plain module, torchmetrics, a CSV logger.

`step.py` calls it with one word of JSON; the last line printed is the speed in pictures per second.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric
from torchmetrics.classification import Accuracy

import peers
import pictures


class PlainDataModule(pl.LightningDataModule):
    """A set in memory through torchvision's transforms, without workers, which is the template's default."""

    def __init__(self, pack: Path, size: int, channels: int, batch_size: int):
        super().__init__()
        self.pack, self.size, self.channels, self.batch_size = pack, size, channels, batch_size

    def train_dataloader(self) -> DataLoader:
        dataset = pictures.InMemory(self.pack)
        return peers.torchvision_arrays(dataset, self.size, self.channels, self.batch_size)


class PlainModule(pl.LightningModule):
    """The template's MNISTLitModule: loss and accuracy counted and logged in each step, for the epoch."""

    def __init__(self, network: torch.nn.Module, num_classes: int, lr: float):
        super().__init__()
        self.net, self.lr = network, lr
        self.criterion = torch.nn.CrossEntropyLoss()
        self.train_acc = Accuracy(task="multiclass", num_classes=num_classes)
        self.train_loss = MeanMetric()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, targets = batch
        logits = self.forward(images)
        loss = self.criterion(logits, targets)
        self.train_loss(loss)
        self.train_acc(torch.argmax(logits, dim=1), targets)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.train_acc, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.net.parameters(), lr=self.lr, momentum=0.9)


class Speed(Callback):
    """Pictures per second of each epoch."""

    def __init__(self, clock: Callable[[], float]):
        self.clock = clock
        self.speeds: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = self.clock()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        samples = trainer.num_training_batches * trainer.datamodule.batch_size
        self.speeds.append(samples / (self.clock() - self._started))


def speed_of(order: dict[str, Any]) -> float:
    """Pictures per second, median over the epochs after the first."""
    from striate.configuration import compose, plain
    from striate.tasks.building import build_network

    words = order["words"]
    config = plain(compose("train", [f"{key}={value}" for key, value in words.items()]))
    pack = Path(words["data.prepared_dir"]) / words["data.name"]
    meta = pictures.Meta.load(pack)
    module = PlainModule(build_network(config["model"], meta, 0), meta.num_classes, config["optimizer"]["lr"])
    datamodule = PlainDataModule(pack, order["size"], meta.channels, config["data"]["batch_size"])
    speed = Speed({"wall": time.perf_counter, "cpu": time.process_time}[order["clock"]])
    with TemporaryDirectory(prefix="striate-lightning-") as folder:
        trainer = pl.Trainer(
            accelerator=words["trainer.accelerator"], devices=1, precision=words["trainer.precision"],
            max_epochs=order["epochs"],
            logger=CSVLogger(folder), callbacks=[speed, ModelCheckpoint(Path(folder) / "checkpoints", save_last=True)],
            default_root_dir=folder, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        )  # fmt: skip
        trainer.fit(module, datamodule=datamodule)
    return statistics.median(speed.speeds[1:] or speed.speeds)


if __name__ == "__main__":
    print(json.dumps(speed_of(json.loads(sys.argv[1]))))
