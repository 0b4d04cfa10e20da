"""Groups by configuration, what may be compared, and what is said of the differences."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from striate import runs
from striate.errors import ConfigurationError, DataError, StorageError
from striate.evaluation import comparison, comparison_report
from striate.evaluation.measured import Measured, answers_of, read_measured, require_comparable

NAMES = [f"{place}.png" for place in range(100)]


def run(name, hits, seed=0, weights="", code="c0", **config):
    """A run with so many of 100 answers right."""
    right = np.arange(100) < hits
    about = {
        "data": {"name": "set", "hash": "d" * 64, "split": "test"}, "measure": "m" * 64,
        "views": {"name": "single", "average": "probability"},
        "checkpoint": {"sha256": "5" * 64, "code": {"hash": code}},
    }  # fmt: skip
    config = {"seed": seed, "model": {"_target_": "striate.models.lenet5.LeNet5"}, **config}
    samples = [(sample, "a") for sample in NAMES]
    return Measured(
        Path(name), config, weights, about, {"top1_micro": hits / 100, "nll": 1 - hits / 100}, samples, right
    )


def groups_of(*measured, repeats=("seed",), names=()):
    return comparison.grouped(measured, "top1_micro", repeats, names)


def test_runs_that_differ_by_their_seed_alone_are_one_group():
    hits = {0.1: (80, 81, 82), 0.2: (85, 87, 86)}
    measured = [run(f"{rate}/{seed}", hits[rate][seed], seed, optimizer={"lr": rate}, run_dir=f"{seed}")
                for rate in (0.1, 0.2) for seed in range(3)]  # fmt: skip
    groups, notes = groups_of(*measured)
    assert [group.name for group in groups] == ["optimizer.lr=0.1", "optimizer.lr=0.2"]
    assert [list(group.runs) for group in groups] == [[(0,), (1,), (2,)]] * 2
    assert not notes
    assert groups[0].estimate.mean == pytest.approx(0.81)
    assert groups[0].deviation == pytest.approx(0.01)
    (difference,) = comparison.differences(groups, "top1_micro", against="first")
    assert difference.paired
    assert difference.seeds.mean == pytest.approx(0.05)
    assert difference.outcome == "higher"
    assert [pair.only_second for pair in difference.pairs] == [5, 6, 4]
    assert difference.pairs[0].p == pytest.approx(2 / 2**5)


def test_a_seed_twice_is_divided_by_first_weights_then_by_code_then_left_out():
    ones = [run(f"a{seed}", 80, seed, weights="first") for seed in (0, 1)]
    others = [run(f"b{seed}", 90, seed, weights="second") for seed in (0, 1)]
    groups, _ = groups_of(*ones, *others)
    assert [group.values for group in groups] == [[0.8, 0.8], [0.9, 0.9]]
    assert len({group.name for group in groups}) == 2
    by_weights, notes = groups_of(ones[0], others[1])
    assert len(by_weights) == 1, "each seed has its own pretraining: still one way of training"
    assert notes == [
        "LeNet5: 2 runs from 2 different first weights are one group, as if each seed had its own pretraining"
    ]
    assert not groups_of(*ones)[1]
    groups, _ = groups_of(run("old", 80, code="c0"), run("new", 90, code="c1"))
    assert len(groups) == 2
    groups, notes = groups_of(run("here", 80), run("again", 80))
    assert [len(group.runs) for group in groups] == [1]
    assert notes == ["again repeats here and is left out"]


def test_folds_can_be_repetitions_too():
    measured = [run(f"{fold}", 80 + fold, data={"fold": fold}) for fold in range(3)]
    assert len(groups_of(*measured)[0]) == 3
    (group,) = groups_of(*measured, repeats=("seed", "data.fold"))[0]
    assert list(group.runs) == [(0, 0), (0, 1), (0, 2)]


def test_other_seeds_are_not_paired_and_single_runs_have_mcnemar():
    first = [run(f"a{seed}", 80 + seed, seed) for seed in (0, 1)]
    second = [run(f"b{seed}", 90 + seed, seed, loss={"x": 1}) for seed in (2, 3)]
    (difference,) = comparison.differences(groups_of(*first, *second)[0], "top1_micro", against="first")
    assert not difference.paired
    assert not difference.pairs
    assert difference.seeds.low < 0.1 < difference.seeds.high
    (difference,) = comparison.differences(groups_of(first[0], second[0])[0], "top1_micro", against="first")
    assert math.isnan(difference.seeds.low)
    assert difference.p == difference.pairs[0].p == pytest.approx(2 / 2**12)
    assert difference.outcome.startswith("higher on these test samples; of other seeds")


def test_single_runs_with_few_different_answers_are_left_to_the_exact_test():
    measured = run("a", 90), run("b", 94, loss={"x": 1})
    (difference,) = comparison.differences(groups_of(*measured)[0], "top1_micro", against="first")
    assert difference.samples[0] > 0, "the bootstrap draws none of the 4 in one of 60 drawings"
    assert difference.p == pytest.approx(2 / 2**4)
    assert difference.outcome == "not decided: p = 0.12"


def test_seeds_that_differ_by_the_same_are_no_certainty():
    first = [run(f"a{seed}", 80 + seed, seed) for seed in range(2)]
    second = [run(f"b{seed}", 90 + seed, seed, loss={"x": 1}) for seed in range(2)]
    for figure in ("nll", "top1_micro"):
        (difference,) = comparison.differences(groups_of(*first, *second)[0], figure, against="first")
        assert difference.paired
        assert difference.outcome == "not decided: all pairs differ by the same, which says nothing of other seeds"
    other = [run(f"c{seed}", 90, seed + 2, loss={"x": 1}) for seed in range(2)]
    (difference,) = comparison.differences(groups_of(*first[:1], run("d", 80, 1), *other)[0], "nll", against="first")
    assert difference.outcome == "not decided: neither group varies, which says nothing of other seeds"


def test_what_cannot_be_told_apart_is_said_so():
    first = [run(f"a{seed}", 80 + 3 * seed, seed) for seed in range(3)]
    second = [run(f"b{seed}", 86 - 3 * seed, seed, loss={"x": 1}) for seed in range(3)]
    (difference,) = comparison.differences(groups_of(*first, *second)[0], "top1_micro", against="first")
    assert difference.outcome == "not decided: 0 lies in the interval over seeds and in that over test samples"
    (difference,) = comparison.differences(groups_of(*first, *second)[0], "nll", against="first")
    assert math.isnan(difference.samples[0]), "no share of single answers"


def test_several_differences_are_corrected_for_their_number():
    hits = (80, 80, 80), (83, 86, 84), (81, 84, 79)
    measured = [run(f"{rate}{seed}", of_seed, seed, rate=rate)
                for rate, each in enumerate(hits) for seed, of_seed in enumerate(each)]  # fmt: skip
    groups, _ = groups_of(*measured)
    (alone,) = comparison.differences(groups[:2], "top1_micro", against="first")
    assert alone.outcome == "higher"
    assert alone.p_holm == alone.p == pytest.approx(stats.ttest_1samp([3, 6, 4], 0).pvalue)
    against_first = comparison.differences(groups, "top1_micro", against="first")
    assert [difference.name for difference in against_first] == ["rate=1 − rate=0", "rate=2 − rate=0"]
    assert [difference.p_holm for difference in against_first] == [2 * alone.p, against_first[1].p]
    assert against_first[0].outcome == f"not decided: p = {2 * alone.p:.2g}, corrected for 2 differences"
    assert len(comparison.differences(groups, "top1_micro", against="all")) == 3


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"data": {"name": "set", "hash": "e" * 64, "split": "test"}}, DataError,
         "b has another data hash: set eeeeeeeeeeee, a has set dddddddddddd (data.size: 28 → 32)"),
        ({"measure": "n" * 64}, ConfigurationError, "b was measured by other code: nnnnnnnnnnnn, a by mmmmmmmmmmmm"),
        ({"views": {"name": "flip"}}, ConfigurationError, "b was measured with views=flip, a with views=single"),
        ({"views": {"name": "single", "average": "logit"}}, ConfigurationError,
         "b was measured with views=single views.average=logit, a with views=single views.average=probability"),
    ],
)  # fmt: skip
def test_what_does_not_speak_of_the_same_is_refused(change, kind, says):
    first, other = run("a", 80, data={"size": 28}), run("b", 80, data={"size": 32})
    other = replace(other, about={**other.about, **change})
    with pytest.raises(kind) as refusal:
        require_comparable([first, other, replace(other, folder=Path("c"))])
    assert str(refusal.value).startswith(f"{says}; 1 more like it")
    assert len(str(refusal.value).splitlines()) <= 3


def test_another_test_split_is_refused_with_the_first_sample_that_differs():
    other = replace(run("b", 80), samples=[("0.png", "a"), ("else.png", "b"), *[(name, "a") for name in NAMES[2:]]])
    with pytest.raises(DataError) as refusal:
        require_comparable([run("a", 80), other])
    assert (
        "b has another test split: 100 samples, a 100, the first that differs is else.png of b, there 1.png of a"
        in str(refusal.value)
    )


def written(folder, **about):
    """The files of a run's own test."""
    own = run("x", 3).about
    kept = {**own, "measure": "m" * 64, **about}
    (folder / "evaluation.json").write_text(json.dumps(kept))
    rows = [
        "name,true,predicted,probability",
        *(f"{place}.png,a,{'a' if place < 3 else 'b'},0.5" for place in range(4)),
    ]
    (folder / "predictions.csv").write_text("\n".join(rows) + "\n")
    (folder / "metrics.json").write_text(json.dumps({"test/top1_micro": 0.75, "val/top1_micro": 0.5, "epochs": 3}))
    return folder


def test_the_answers_of_a_run_are_read_back(tmp_path):
    folder = written(tmp_path)
    assert answers_of(folder, "test", None) == folder
    assert answers_of(folder, "val", None) is None
    found = read_measured(folder, folder, {"seed": 0}, "")
    assert found.figures == {"top1_micro": 0.75}
    assert found.hits.tolist() == [True, True, True, False]
    assert found.samples[1] == ("1.png", "a")
    with pytest.raises(ConfigurationError, match="nearest valid choice: figure=top1_micro"):
        found.figure("top1micro")


def test_answers_of_an_older_version_are_none_and_exchanged_ones_are_refused(tmp_path):
    folder = written(tmp_path, measure=None)
    assert answers_of(folder, "test", None) is None
    folder = written(tmp_path)
    (folder / "metrics.json").write_text(json.dumps({"test/top1_micro": 1.0}))
    with pytest.raises(StorageError, match="is not what"):
        read_measured(folder, folder, {}, "")
    (folder / "predictions.csv").write_text("name,true\n0.png,a\n")
    with pytest.raises(StorageError, match="is damaged"):
        read_measured(folder, folder, {}, "")


def test_answers_of_another_checkpoint_are_not_the_runs(tmp_path):
    folder, later = written(tmp_path), tmp_path / "evaluation_val"
    later.mkdir()
    written(later, checkpoint={"sha256": "6" * 64}, data={"split": "val"})
    assert answers_of(folder, "val", "5" * 64) is None
    assert answers_of(folder, "val", "6" * 64) == later
    assert answers_of(folder, "test", "6" * 64) is None
    assert answers_of(folder, "val", None) is None, "the run has tested another one"
    assert answers_of(folder, "test", None) == folder


def test_answers_that_the_code_as_it_is_has_measured_come_first(tmp_path):
    folder, anew = written(tmp_path), tmp_path / "evaluation_test"
    anew.mkdir()
    assert answers_of(written(anew, measure="n" * 64).parent, "test", "5" * 64) == folder
    assert answers_of(written(anew, measure=runs.measure_version()).parent, "test", "5" * 64) == anew


def test_the_folder_holds_tables_that_agree_with_the_figures(tmp_path):
    measured = [run(f"{name}{seed}", hits + seed, seed, kind=name)
                for name, hits in (("a|b", 80), ("=cmd()", 85)) for seed in range(3)]  # fmt: skip
    groups, _ = groups_of(*measured, names=("a|b", "=cmd()"))
    found = comparison.differences(groups, "top1_micro", against="first")
    content = comparison_report.write_comparison(tmp_path, groups, found, "top1_micro", {"data": "set"})
    assert {path.name for path in tmp_path.iterdir()} == set(comparison_report.FILES)
    assert json.loads((tmp_path / "metrics.json").read_text()) == content
    assert content["=cmd() − a|b"]["mean"] == pytest.approx(0.05)
    with open(tmp_path / "runs.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["figure"] for row in rows] == ["80.00", "81.00", "82.00", "85.00", "86.00", "87.00"]
    assert rows[3]["group"] == "'=cmd()"
    assert "a\\|b" in (tmp_path / "report.md").read_text()
    (alone,), _ = groups_of(*measured[:3])
    comparison_report.write_comparison(tmp_path / "one", [alone], [], "nll", {})
    assert (tmp_path / "one" / "comparison.png").is_file()
