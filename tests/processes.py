"""Trainings in processes of their own, which a test can kill at a chosen place.

The processes come from a fork server that has the imports done, so that each starts in milliseconds and without the
threads of the test's own process.
"""

import multiprocessing
import os
import resource
import signal
import tempfile
from typing import NamedTuple

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["striate.pipelines.train", "striate.evaluation.figures", "albumentations"])


def train(overrides, kill=None, limit=180):
    """Runs the training pipeline in a new process; gives its exit code (-9 when it was killed) and what it printed.

    Args:
        overrides: of the configuration.
        kill: (place, number): "step", "validation" or "checkpoint", and which of them is met by `kill -9`; "sigterm"
            and "sigint" with a step send those signals to the process instead; "full" with a number of bytes lets it
            write no file larger than that.
        limit: seconds until the test gives up.
    """
    with tempfile.NamedTemporaryFile("r", suffix=".txt") as output:
        process = CONTEXT.Process(target=_train, args=(list(overrides), kill, output.name))
        process.start()
        process.join(limit)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"the training did not end within {limit} s:\n{output.read()}")
        text = output.read()
    print(text)
    return Outcome(process.exitcode, text)


class Outcome(NamedTuple):
    code: int
    text: str


def _train(overrides, kill, output):
    import torch

    from striate.configuration import compose
    from striate.errors import StriateError
    from striate.pipelines import train as pipeline

    # The fork server has the file descriptors of whoever asked it first, not those of this test.
    stream = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    # Data workers as in a command of its own: forked, not from a fork server of their own.
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(1)
    os.environ.pop("STRIATE_RUN", None)
    if kill is not None:
        _arm(*kill)
    try:
        pipeline.run(compose("train", overrides))
    except StriateError as error:
        print(error, flush=True)
        os._exit(error.exit_code)


def _arm(place, number):
    from striate import storage
    from striate.callbacks import checkpointing
    from striate.errors import StorageError
    from striate.tasks.classification import ClassificationTask

    def die(signum=signal.SIGKILL):
        os.kill(os.getpid(), signum)

    if place in ("step", "sigterm", "sigint"):
        original = checkpointing.Checkpointing.on_train_batch_end
        signum = {"step": signal.SIGKILL, "sigterm": signal.SIGTERM, "sigint": signal.SIGINT}[place]

        def after_step(self, trainer, *arguments):
            if trainer.global_step == number:
                die(signum)
            original(self, trainer, *arguments)

        checkpointing.Checkpointing.on_train_batch_end = after_step
    elif place == "validation":
        counted = [0]
        validate = ClassificationTask.validation_step

        def validation_step(self, batch, batch_idx):
            counted[0] += 1
            if counted[0] == number:
                die()
            return validate(self, batch, batch_idx)

        ClassificationTask.validation_step = validation_step
    elif place == "checkpoint":
        counted = [0]
        save = storage.save_checkpoint

        def save_checkpoint(content, path):
            counted[0] += 1
            if counted[0] == number:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_name(f".{path.name}.{os.getpid()}.tmp").write_bytes(b"half a checkpoint")
                die()
            save(content, path)

        checkpointing.save_checkpoint = save_checkpoint
    elif place == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
    elif place == "full disk":
        counted = [0]
        write = checkpointing.save_checkpoint

        def refused(content, path):
            counted[0] += 1
            if counted[0] >= number:
                raise StorageError(f"cannot write {path}: no space left")
            write(content, path)

        checkpointing.save_checkpoint = refused
    else:
        raise ValueError(place)


def alongside(work, seconds, count=2):
    """Lets as many forked processes as wanted do the same work, and waits for them."""
    others = [multiprocessing.get_context("fork").Process(target=work) for _ in range(count)]
    for other in others:
        other.start()
    for other in others:
        other.join(seconds)
