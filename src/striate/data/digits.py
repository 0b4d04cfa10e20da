"""The embedded picture set: 1,797 handwritten digits of 8 × 8 pixels, as ordinary picture files in class folders.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
DOI 10.24432/C50P49, CC BY 4.0; the test part, which scikit-learn carries.
"""

from pathlib import Path

import numpy as np
from PIL import Image


def digit_pictures() -> tuple[np.ndarray, np.ndarray]:
    """The digits as 8-bit grey.

    Returns:
        Pictures (1797, 8, 8) uint8, where the set's 0 … 16 is spread over 0 … 255, and labels (1797,) int64.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.int64)


def write_digits(folder: Path | str) -> None:
    """Writes `folder/CLASS/NNNN.png`, NNNN being the digit's place in the set."""
    for place, (picture, label) in enumerate(zip(*digit_pictures(), strict=True)):
        path = Path(folder) / str(label) / f"{place:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
