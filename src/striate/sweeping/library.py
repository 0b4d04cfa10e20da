"""Optuna, imported late and without what it and its database say about themselves."""

import logging
import warnings
from typing import Any


def quiet_optuna() -> Any:
    """The module."""
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it talks while it is imported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna 2 on SQLAlchemy 2
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
