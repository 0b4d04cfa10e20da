"""Which of the varied values mattered."""

import warnings
from collections.abc import Sequence

from striate.messages import say
from striate.sweeping.ledger import Trial
from striate.sweeping.library import quiet_optuna
from striate.sweeping.space import Space

_ENOUGH = 5  # finished trials from which on importance says something


def importances(finished: Sequence[Trial], space: Space, mode: str) -> dict[str, float]:
    """How much of the spread each varied value explains, by the impurities of a random forest (Breiman 2001).

    Args:
        finished: trials with a value.
        space: what was varied.
        mode: "max" or "min".

    Returns:
        Shares that add up to 1, the largest first; none where they would say nothing.
    """
    axes = {
        name: axis.including(trial.varied[name] for trial in finished if name in trial.varied)
        for name, axis in space.items()
    }
    names = [name for name in axes if len({trial.varied.get(name) for trial in finished}) > 1]
    counted = [
        trial
        for trial in finished
        if all(name in trial.varied and axes[name].has(trial.varied[name]) for name in names)
    ]
    names = [name for name in names if len({trial.varied[name] for trial in counted}) > 1]
    if len(counted) < _ENOUGH or len(names) < 2 or len({trial.value for trial in counted}) < 2:
        return {}
    try:
        import sklearn  # noqa: F401 (Optuna asks for it late)

        optuna = quiet_optuna()
    except ImportError:
        say('What mattered is not computed: pip install "striate[optuna]"')
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
        for trial in counted:
            values_of, kinds = zip(*(axes[name].observed(trial.varied[name]) for name in names), strict=True)
            study.add_trial(
                optuna.trial.create_trial(
                    params=dict(zip(names, values_of, strict=True)),
                    distributions=dict(zip(names, kinds, strict=True)),
                    value=trial.value,
                )
            )
        evaluator = optuna.importance.MeanDecreaseImpurityImportanceEvaluator(seed=0)
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
