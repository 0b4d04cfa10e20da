"""What the LightningModules share: network + loss + tallies, for any network of the family."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from striate.data.loading import Batch
from striate.data.preprocessing import Preprocessing
from striate.data.sampling import hashed
from striate.errors import ConfigurationError
from striate.evaluation.pixel_tally import PixelTally
from striate.evaluation.tally import ClassificationTally
from striate.optim.groups import parameter_groups
from striate.optim.levenberg_marquardt import StochasticDiagonalLM
from striate.optim.losses import Loss
from striate.optim.pixel_losses import PixelLoss

# Keeps the draws of dropout apart from those of the data path, which hash the same seed.
_STEP_TAG = 0x57E9
# Likewise those of the samples whose curvature is measured.
_SAMPLE_TAG = 0x5A3B
_MEASURED_AT_ONCE = 100


class SupervisedTask(pl.LightningModule):
    """Trains and evaluates a network that says a class of each picture or of each pixel.

    Args:
        network: maps (N, C, H, W) to logits (N, K), or (N, K, H, W). Where it has `auxiliary_weights`,
            training minimises the loss of `forward_aux`'s main logits plus those of its auxiliary heads by these
            weights.
        preprocessing: from the bytes of a batch to the network's input.
        num_classes: K.
        loss: `loss(logits, targets)` gives one value a sample, `loss.reduce` their mean.
        optimizer: `optimizer(groups) -> Optimizer`; None for a task that only evaluates.
        scheduler: `scheduler(optimizer, total_steps=, steps_per_epoch=, max_epochs=)` gives Lightning's dictionary.
        seed: of all that is random in a step (dropout): a function of seed, epoch, batch, rank, not of what ran before.
        decay_depthwise: whether weight decay takes in depthwise filters (MobileNet: no).
        backbone_rate: times the optimizer's rate, the rate of what lies in `network.backbone`.
        bias_rate: likewise of biases beside weights (Caffe's networks: 2).
        rates: likewise of submodules of the network, by name.
        record: what the checkpoint says of itself (configuration, meta, preprocessing, code); plain data.

    Attributes:
        monitor: the figure that selects the best epoch where nobody names another.
        train_error: the name under which the share of wrong answers while training is reported.
    """

    monitor: ClassVar[str]
    train_error: ClassVar[str]
    tally: ClassificationTally | PixelTally
    # Steps whose figures are summed at once: one after another, small operations find the caches warm.
    counted_at_once: ClassVar[int]

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        num_classes: int,
        loss: Loss | PixelLoss,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[..., dict[str, Any]] | None = None,
        *,
        seed: int = 0,
        decay_depthwise: bool = True,
        backbone_rate: float = 1.0,
        bias_rate: float = 1.0,
        rates: Mapping[str, float] | None = None,
        record: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.network, self.loss = network, loss
        self.preprocessing, self.num_classes = preprocessing, num_classes
        self.optimizer_factory, self.scheduler_factory = optimizer, scheduler
        self.seed, self.decay_depthwise = seed, decay_depthwise
        self.backbone_rate, self.bias_rate, self.rates = backbone_rate, bias_rate, dict(rates or {})
        self.record = dict(record or {})
        self.tally = self.new_tally()
        self._auxiliary: tuple[float, ...] = tuple(getattr(network, "auxiliary_weights", ()))
        # Samples, their weights, losses and errors in the running epoch: summed where the batches are, read once an
        # epoch. No buffer: DDP would overwrite it with the main process's before every step.
        self._train_sums = torch.zeros(4, dtype=torch.float64)
        self._uncounted: list[tuple[Tensor, Tensor, Tensor]] = []  # logits, targets, losses
        self._window: tuple[Tensor, float] | None = None  # weight of the batch's parts so far, and that of their sums
        self._plateau: ReduceLROnPlateau | None = None
        self._plateau_metric = ""
        self._plateau_state: dict[str, Any] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning notes the hook that runs in an attribute, forty times a step; a module's own way asks each time
        whether the value is a parameter, and takes twenty times as long."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @abstractmethod
    def new_tally(self) -> Any:
        """What counts the answers of a split."""

    @abstractmethod
    def metric_names(self) -> list[str]:
        """The figures of each epoch, of which one selects the best."""

    @abstractmethod
    def errors(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The wrong answers of a step, of any shape."""

    @abstractmethod
    def samples(self, targets: Tensor) -> Tensor:
        """How many answers each sample asks for, (N,) float32."""

    @abstractmethod
    def _evaluate(self, batch: Any) -> Any:
        """Counts a batch; its logits, or None for a part without samples."""

    def classify(self, images: Tensor) -> Tensor:
        """(N, H, W, C) uint8 pictures to logits."""
        return self.network(self._inputs(images))

    def _inputs(self, images: Tensor) -> Tensor:
        """(N, H, W, C) uint8 pictures to what the network sees."""
        return self.preprocessing.normalise(images, next(self.network.parameters()).dtype)

    forward = classify

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The trainable parameters of the network, by decay and rate."""
        return parameter_groups(
            self.network, decay_depthwise=self.decay_depthwise, backbone_rate=self.backbone_rate,
            bias_rate=self.bias_rate, rates=self.rates,
        )  # fmt: skip

    def configure_optimizers(self) -> Any:
        """The optimizer over groups by kind of parameter, and the schedule over the steps that will be made."""
        assert self.optimizer_factory is not None
        optimizer = self.optimizer_factory(self.parameter_groups())
        for group in optimizer.param_groups:  # before a schedule takes the rates for its own
            group["lr"] *= group.get("rate", 1.0)
        if self.scheduler_factory is None:
            return {"optimizer": optimizer}
        trainer = self.trainer
        total_steps = int(trainer.estimated_stepping_batches)
        steps_per_epoch = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
        schedule = self.scheduler_factory(
            optimizer, total_steps=total_steps, steps_per_epoch=steps_per_epoch, max_epochs=trainer.max_epochs
        )
        if isinstance(schedule["scheduler"], ReduceLROnPlateau):
            # Lightning moves it after the checkpoint of the epoch is written: a resumed run would lose the move.
            self._plateau, self._plateau_metric = schedule["scheduler"], schedule["monitor"]
            return {"optimizer": optimizer}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_start(self) -> None:
        """Takes up the plateau schedule of a resumed run."""
        if self._plateau is not None and self._plateau_state is not None:
            self._plateau.load_state_dict({**self._plateau.state_dict(), **self._plateau_state})

    def on_train_epoch_start(self) -> None:
        """Lets an optimizer that goes by the curvature of the loss measure it."""
        self._window = None
        optimizer = self.trainer.optimizers[0]
        if not isinstance(optimizer, StochasticDiagonalLM):
            return
        if not isinstance(self.loss, Loss):
            raise ConfigurationError(
                f"optimizer: {type(self.loss).__name__} says nothing of its curvature", do="take another optimizer"
            )
        try:
            optimizer.estimate(self.network, self.loss, self._drawn(optimizer.samples))
        except ValueError as error:
            raise ConfigurationError(
                f"optimizer: {error}, in {type(self.network).__name__}",
                do="take another optimizer, or a network of convolutions, dense layers, pooling and activations alone",
            ) from error

    def _drawn(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Training samples as the running epoch shows them: a function of seed and epoch, equal on all processes."""
        dataset = self.trainer.datamodule.dataset("train")  # type: ignore[attr-defined]
        order = np.random.default_rng([self.seed, self.current_epoch, _SAMPLE_TAG]).permutation(len(dataset))[:count]
        for start in range(0, len(order), _MEASURED_AT_ONCE):
            batch = dataset[self.current_epoch, order[start : start + _MEASURED_AT_ONCE]]
            yield self._inputs(batch.images.to(self.device)), batch.targets.to(self.device)

    def train(self, mode: bool = True) -> Self:
        """Keeps what is frozen in evaluation mode, by name: SyncBatchNorm puts other norms in the place of its own."""
        super().train(mode)
        for name in getattr(self.network, "frozen_modules", ()):
            self.network.get_submodule(name).eval()
        return self

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Makes the randomness of a step a function of its place, whatever ran before and on which machine."""
        _seed(self.device, hashed(_STEP_TAG, self.seed, self.current_epoch, batch_idx, self.global_rank) >> 1)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One part of a global batch; the mean loss."""
        logits, each = self.losses(batch)
        return self._noted(logits, batch.targets, each)

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The logits, and what training minimises of each sample: of several heads the losses by their weights."""
        if not self._auxiliary:
            logits = self.classify(batch.images)
            return logits, self.loss(logits, batch.targets)
        logits, *others = self.network.forward_aux(self._inputs(batch.images))  # type: ignore[operator]
        each = self.loss(logits, batch.targets)
        for weight, other in zip(self._auxiliary, others, strict=True):
            each = each + weight * self.loss(other, batch.targets)
        return logits, each

    def _noted(self, logits: Tensor, targets: Tensor, each: Tensor) -> Tensor:
        """The mean of the losses, which are counted."""
        self._uncounted.append((logits.detach(), targets, each.detach()))
        if len(self._uncounted) == self.counted_at_once:
            self._count()
        if self.loss.counts_alike or self.trainer.world_size == self.trainer.accumulate_grad_batches == 1:
            return self.loss.reduce(each, targets)
        # The gradient is averaged over processes, whose parts of the batch weigh differently.
        total = self._summed(self.loss.sample_weights(targets).sum()).to(each.dtype)
        mean = each.sum() / torch.where(total > 0, total, 1.0) * self.trainer.world_size
        if self.trainer.accumulate_grad_batches == 1:
            return mean
        # Likewise over accumulated parts: their means stay as they are, their gradients become those of sums over a
        # weight that all share, until `on_after_backward` knows the weight of the whole batch.
        before, shared = self._window or (torch.zeros_like(total), float(targets.numel()))
        self._window = before + total, shared
        summed = mean * (total / shared)
        return mean.detach() + (summed - summed.detach())

    def on_after_backward(self) -> None:
        """Makes what the parts of a batch have added up the gradient of the mean over the whole batch."""
        if self._window is None or self.trainer.fit_loop.epoch_loop._should_accumulate():
            return
        # Lightning has divided by the number of parts, also where an epoch ends with fewer.
        total, shared = self._window
        factor = shared * self.trainer.accumulate_grad_batches / torch.where(total > 0, total, 1.0)
        self._window = None
        for group in self.trainer.optimizers[0].param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)

    @torch.no_grad()
    def _count(self) -> None:
        # Step by step, so that the sums have the same bits wherever a checkpoint cuts the row.
        for logits, targets, each in self._uncounted:
            errors, weights = self.errors(logits, targets), self.loss.sample_weights(targets)
            figures = (self.samples(targets), weights, each, errors)
            sums = torch.stack([figure.sum(dtype=torch.float64) for figure in figures])
            self._train_sums = self._train_sums.to(each.device) + sums
        self._uncounted.clear()

    def _epoch_sums(self) -> Tensor:
        """Samples, weights, losses and errors of the running epoch over all processes, (4,) float64."""
        self._count()
        return self._summed(self._train_sums.to(self.device, copy=True))

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Drops the gradients, without the bookkeeping of PyTorch's own method that costs more than this."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def on_train_epoch_end(self) -> None:
        """Training loss and error of the epoch, as met while training (with augmentation and dropout)."""
        samples, weight, loss, errors = self._epoch_sums().tolist()
        self._train_sums = torch.zeros(4, dtype=torch.float64)
        if samples:
            self._log({"train/loss": loss / max(weight, 1e-12), self.train_error: errors / samples})
        if self._plateau is not None and (self.current_epoch + 1) % (self.trainer.check_val_every_n_epoch or 1) == 0:
            value = self.trainer.callback_metrics.get(self._plateau_metric)
            if value is not None:
                self._plateau.step(float(value))

    def _log(self, figures: Mapping[str, float]) -> None:
        # As float64 tensors, or Lightning would round them to float32; the same on every process already.
        self.log_dict({name: torch.tensor(value, dtype=torch.float64) for name, value in figures.items()})

    def _summed(self, tensor: Tensor) -> Tensor:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(tensor)
        return tensor

    def on_validation_epoch_start(self) -> None:
        """Starts to count."""
        self.tally.reset(self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts a batch."""
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Figures over the whole split, each sample once, over all processes."""
        self._report("val")

    on_test_epoch_start = on_validation_epoch_start

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Counts a batch; the logits are for whoever wants to keep them."""
        return self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        """Figures over the whole split, each sample once, over all processes."""
        self._report("test")

    def _report(self, split: str) -> None:
        self.tally.reduce(self._summed)
        self._log({f"{split}/{name}": value for name, value in self.tally.compute().items()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Makes the file describe itself, and keeps the sums of an epoch that is under way."""
        checkpoint["striate"] = self.record
        checkpoint["striate_sums"] = self._epoch_sums().cpu()
        if self._plateau is not None:
            state = self._plateau.state_dict()
            # What it has seen; how it judges that is the configuration's to say.
            seen = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
            checkpoint["striate_plateau"] = {key: state[key] for key in seen}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on with the sums of the epoch; one process carries them."""
        if "striate_sums" in checkpoint:
            sums = checkpoint["striate_sums"]
            self._train_sums = sums if self.global_rank == 0 else torch.zeros_like(sums)
        self._plateau_state = checkpoint.get("striate_plateau")


def _seed(device: torch.device, value: int) -> None:
    """`torch.manual_seed` for those generators alone from which a step on this device can draw.

    The original also notes the call for every kind of GPU that is not there, with the stack of each call: half a
    millisecond, and memory that grows with every step.
    """
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(value)
    elif device.type == "mps":
        torch.mps.manual_seed(value)
