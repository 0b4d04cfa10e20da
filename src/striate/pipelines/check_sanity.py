"""`python src/check_sanity.py`: what must hold before the figures of a training are believed, checked in seconds."""

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from striate.errors import CheckError, ConfigurationError, DivergedError, nearest
from striate.messages import calm_libraries, say
from striate.pipelines import sanity_checks as checks
from striate.pipelines import sanity_trainings as trainings
from striate.pipelines import starting
from striate.pipelines.choosing import settled
from striate.pipelines.sanity_data import Splits, few_near_duplicates, no_common_pictures
from striate.pipelines.train import build_datamodule
from striate.tasks.building import choose_task

CHECKS = {
    "duplicates": "train, val and test share no picture",
    "near_duplicates": "no two splits show the same picture again",
    "initial_loss": "a new network begins at chance",
    "gradients": "gradients reach every trainable parameter",
    "batch_mates": "answers do not depend on the pictures beside",
    "one_batch": "one batch can be learnt by heart",
    "shuffled_labels": "shuffled labels teach nothing",
    "constant_pictures": "constant pictures teach nothing",
}
_WIDTH = max(map(len, CHECKS.values()))


def run(cfg: DictConfig) -> dict[str, float]:
    """Carries the checks out, a line each.

    Returns:
        The figure of each check that applied.

    Raises:
        CheckError: at least one failed; exit code 7, after all have been carried out.
        StriateError: a mistake of the person's.
    """
    calm_libraries()
    config, data = settled(cfg, build_datamodule)
    starting.settle(config)
    wanted = chosen(config["checks"])
    data.prepare_data()
    choose_task(config, data.meta)
    folder = Path(config["sanity_dir"] or Path(config["paths"]["runs_dir"]) / "sanity")
    case = checks.Case(config, data, config["steps"], config["pictures"], folder)
    carried_out = of_pictures(case, wanted) | {
        "initial_loss": lambda: checks.begins_at_chance(case),
        "gradients": lambda: checks.gradients_everywhere(case),
        "batch_mates": lambda: checks.answers_alone(case),
        "one_batch": lambda: trainings.learns_a_batch(case),
        "shuffled_labels": lambda: trainings.shuffled_labels_teach_nothing(case),
        "constant_pictures": lambda: trainings.constant_pictures_teach_nothing(case),
    }
    found = {name: tell(name, carried_out[name]) for name in wanted}
    failed = [CHECKS[name] for name, finding in found.items() if finding.passed is False]
    if failed:
        raise CheckError(
            f"{len(failed)} of {len(found)} checks failed: {'; '.join(failed)}",
            do="mend the cause before you believe a figure; checks=[NAME] repeats one: "
            + ", ".join(name for name, finding in found.items() if finding.passed is False),
        )
    say("Every check that applies has passed.")
    return {name: finding.value for name, finding in found.items() if finding.value == finding.value}


def chosen(names: str | list[str]) -> list[str]:
    """The checks that are asked for, in their order.

    Raises:
        ConfigurationError: there is no check of a name.
    """
    names = list(CHECKS) if names == "all" else [names] if isinstance(names, str) else names
    for name in names:
        if name not in CHECKS:
            raise ConfigurationError(
                f"checks: there is no check {name}",
                nearest=nearest(name, CHECKS),
                do=f"choose among {', '.join(CHECKS)}",
            )
    return [name for name in CHECKS if name in names]


def of_pictures(case: checks.Case, wanted: list[str]) -> dict[str, Callable[[], checks.Finding]]:
    """The checks of pictures, which share one pass over them."""
    if not {"duplicates", "near_duplicates"} & set(wanted):
        return {}
    splits = cache(lambda: Splits(case))
    return {
        "duplicates": lambda: no_common_pictures(splits()),
        "near_duplicates": lambda: few_near_duplicates(splits(), case.folder),
    }


def tell(name: str, check: Callable[[], checks.Finding]) -> checks.Finding:
    """Carries one check out and says its line."""
    began = time.perf_counter()
    try:
        finding = check()
    except DivergedError as error:
        finding = checks.Finding(False, error.what, "finite figures")
    words = {True: "[green]passed[/green]", False: "[red]failed[/red]", None: "[yellow]–[/yellow]     "}
    expected = f"; expected {finding.expected}" if finding.expected else ""
    line = f"{CHECKS[name]:<{_WIDTH}}  {finding.found}{expected}  ({time.perf_counter() - began:.1f} s)"
    console = Console(soft_wrap=True)
    console.print(words[finding.passed], end="  ", highlight=False)
    console.print(line, markup=False, highlight=False)
    return finding
