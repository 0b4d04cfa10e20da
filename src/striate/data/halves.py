"""The classes of a set in two halves, A and B, so that what was learnt of one can be tried on the other."""

from collections.abc import Sequence

import numpy as np

from striate.data.sampling import keys, uniform
from striate.errors import ConfigurationError, nearest

_STREAM = 2**31 - 2  # of the draws, beside that of `data.samples_per_class`


def half_of(classes: Sequence[str], half: str, split: int | Sequence[str | int]) -> list[str]:
    """The classes of one half, in the order in which they are given.

    Args:
        classes: all of them.
        half: "A" or "B", which has the rest.
        split: the number of a random split, of which A has one class more where their number is
            odd; or the classes of A.

    Raises:
        ConfigurationError: a class of A that is not among them, or a half of fewer than two.
    """
    if isinstance(split, int):
        draws = uniform(keys(split, 0, np.arange(len(classes))), stream=_STREAM)
        chosen = {classes[place] for place in np.argsort(draws, kind="stable")[: (len(classes) + 1) // 2]}
    else:
        chosen = {str(name) for name in split}
        for name in sorted(chosen - set(classes)):
            raise ConfigurationError(
                f"data.class_split: there is no class {name!r}",
                nearest=nearest(name, classes),
                do=f"choose among {', '.join(classes[:12])}{' …' if len(classes) > 12 else ''}",
            )
    found = [name for name in classes if (name in chosen) == (half == "A")]
    if len(found) < 2:
        raise ConfigurationError(
            f"data.class_split leaves {len(found)} of {len(classes)} classes for half {half}",
            do="a half needs at least two classes",
        )
    return found
