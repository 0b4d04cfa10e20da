"""What all tests share: real digits, prepared once, and the real pipeline on them."""

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["WANDB_MODE"] = "offline"

import pytest
import torch

# Small networks gain nothing from a second thread, and on a busy machine they lose much.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def places(tmp_path_factory):
    """Directories of this test session, as overrides of the configuration: raw digits, packs, runs."""
    from striate.data.digits import write_digits

    root = tmp_path_factory.mktemp("striate")
    write_digits(root / "data" / "digits")
    return [
        f"paths.data_dir={root / 'data'}",
        f"paths.prepared_dir={root / 'prepared'}",
        f"paths.runs_dir={root / 'runs'}",
    ]


@pytest.fixture(scope="session")
def digits(places):
    """The prepared digits (array pack) as a configured, prepared data module."""
    from striate.configuration import compose
    from striate.pipelines.train import build_datamodule

    datamodule = build_datamodule(compose("train", places))
    datamodule.prepare_data()
    return datamodule


@pytest.fixture
def train(places, digits, tmp_path, monkeypatch):
    """`train(*overrides)` runs the pipeline in this process and a directory of the test's own; gives its figures."""
    from striate.configuration import compose
    from striate.pipelines import train as pipeline

    def run(*overrides):
        monkeypatch.delenv("STRIATE_RUN", raising=False)
        own = ["trainer.enable_progress_bar=false", f"paths.runs_dir={tmp_path / 'runs'}"]
        return pipeline.run(compose("train", [*places, *own, *overrides]))

    return run


@pytest.fixture(scope="session")
def trained(places, digits, tmp_path_factory):
    """The run directory of a LeNet-5 trained for three epochs on all digits."""
    from striate.configuration import compose
    from striate.pipelines import train as pipeline

    folder = tmp_path_factory.mktemp("trained")
    os.environ.pop("STRIATE_RUN", None)
    pipeline.run(
        compose(
            "train",
            [
                *places,
                "model=lenet5_modern",
                "trainer.max_epochs=3",
                "trainer.enable_progress_bar=false",
                f"run_dir={folder}",
            ],
        )
    )
    return folder
