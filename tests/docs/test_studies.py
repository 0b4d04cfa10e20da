"""What the pages of studies rest on: the trainings kept beside them, and what the files say of time and seeds."""

import csv
import re
from pathlib import Path

import pytest

from striate.pipelines.study_file import FOLDER, load

ROOT = Path(__file__).resolve().parents[2]
KEPT = {  # every training of a study that was run, and its size
    **{name: (name, "small") for name in ("augmentation", "batch_norm", "batch_size", "depth", "dropout")},
    **{name: (name, "small") for name in ("mobilenet", "relu_tanh", "transferability")},
    "few_samples": ("few_samples", "digits"),
    "transferability_digits": ("transferability", "digits"),
}


def test_all_that_is_kept_is_looked_at():
    assert {path.stem for path in (ROOT / "docs" / "studies").glob("*.csv")} == set(KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_a_study_takes_as_long_as_it_says(name):
    study, size = KEPT[name]
    promised = load(study)[1]["sizes"][size]
    with open(ROOT / "docs" / "studies" / f"{name}.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    share = promised["seeds"] / len({row["seed"] for row in rows})
    minutes = share * sum(float(row["seconds"]) for row in rows) / 60 / 2  # on two cores
    said = int(re.match(r"(\d+) minutes on 2 cores", promised["takes"]).group(1))
    assert minutes - 0.5 <= said <= 1.5 * minutes  # rounded; it may promise too much, but not by half


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_every_size_has_the_seeds_of_an_interval(name):
    assert min(size["seeds"] for size in load(name)[1]["sizes"].values()) >= 3
