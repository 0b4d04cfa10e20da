"""`probe`: simple classifiers on features that are computed once, from the command's configuration to its files."""

import csv
import json

import numpy as np
import pytest
import torch

from striate.configuration import compose
from striate.errors import ConfigurationError
from striate.pipelines import features, probe
from striate.pipelines.subject import subject_of


@pytest.fixture
def probed(places, trained, tmp_path):
    def run(*words):
        own = [f"output_dir={tmp_path / 'probe'}", f"paths.runs_dir={tmp_path}", "device=cpu", "strengths=[0.01,1]"]
        return probe.run(compose("probe", [*places, *own, "neighbours=[1,5]", *words]))

    return run


def rows(folder):
    with open(folder / "probe.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_checkpoint_is_probed_at_every_stage_and_features_are_computed_once(probed, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(features.runs, "code_version", lambda: {"hash": "of a file that nobody edits meanwhile"})
    passes = []
    monkeypatch.setattr(features, "_computed", lambda *a, of=features._computed: passes.append(a[1]) or of(*a))
    figures = probed(f"ckpt_path={trained}", "stages=all")
    assert passes == ["train", "val", "test"]
    table = rows(tmp_path / "probe")
    assert [row["stage"] for row in table[::2]] == ["pixels", "C1", "C3", "C5", "F6"]
    assert {row["kind"] for row in table} == {"linear", "neighbours"}
    assert figures["test/top1_micro"] > 0.9
    best = max(table, key=lambda row: float(row["val_top1_micro"]))
    assert figures["test/top1_micro"] == float(best["top1_micro"])
    assert json.loads((tmp_path / "probe" / "metrics.json").read_text())["stage"] == best["stage"]
    assert (tmp_path / "probe" / "probe.png").stat().st_size > 5000
    before = (tmp_path / "probe" / "probe.csv").read_bytes()
    assert probed(f"ckpt_path={trained}", "stages=all") == figures
    assert len(passes) == 3  # all of it was there
    assert (tmp_path / "probe" / "probe.csv").read_bytes() == before
    damaged = next((tmp_path / "probe" / "features").glob("C3_val_*"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert probed(f"ckpt_path={trained}", "stages=all") == figures
    assert passes[3:] == ["val"]  # what is damaged is computed anew, and only that
    probed(f"ckpt_path={trained}", "stages=[C5]", "max_features=50")
    assert len(passes) == 7  # other vectors


def test_features_are_what_the_network_computes(places, trained, tmp_path):
    config = {**compose("probe", [*places, f"ckpt_path={trained}"])}
    subject = subject_of(config, torch.device("cpu"))
    found = features.features_of(subject, "val", ["F6"], 1024, tmp_path)["F6"]
    dataset = subject.data.dataset("val")
    assert found.shape == (len(dataset), 84)
    batch = dataset[0, np.arange(len(dataset))]
    logits = subject.network(subject.preprocessing.normalise(batch.images))
    assert torch.allclose(subject.network.output(torch.from_numpy(found)), logits, atol=1e-4)


def test_other_classes_and_a_network_without_a_checkpoint(probed, trained, tmp_path):
    few = ["data=digits", "data.classes=[7,8,9]", "data.samples_per_class=3"]
    figures = probed(f"ckpt_path={trained}", *few)
    assert figures["test/most_frequent_class"] < 0.4
    assert 0.5 < figures["test/top1_micro"] <= 1
    alone = probed("model=lenet5_modern", "stages=[-2,pixels]", *few)
    assert [row["stage"] for row in rows(tmp_path / "probe")[::2]] == ["pixels", "F6"]
    assert alone["test/top1_micro"] > 0.4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "either ckpt_path or model"),
        (["ckpt_path=best", "model=lenet5"], "either ckpt_path or model"),
        (["model=lenet5"], "data is missing"),
        (["model=lenet5_modern", "data=digits", "stages=[C4]"], "no stage 'C4'"),
        (["model=lenet5_modern", "data=digits", "stages=[output]"], "is the classifier"),
        (["model=lenet5_modern", "data=segmentation_digits"], "pixel"),
        (["model=resnet18", "init=torchvision", "data=digits", "init.weights=NONE"], "NONE"),
    ],
)
def test_mistakes_are_said(probed, digits, words, message):
    with pytest.raises(ConfigurationError, match=message):
        probed(*words)
