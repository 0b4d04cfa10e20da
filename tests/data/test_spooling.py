"""What is kept on disk between decoding and writing."""

import numpy as np
import pytest

from striate.data import spooling
from striate.data.decoding import Form, decode_content
from striate.data.spooling import Spool, Wanted, stow

GEOMETRY = {"image_size": None, "max_short_side": None}
PICTURE_BYTES = 24 * 32 * 3


@pytest.mark.parametrize("count", [6, None])
@pytest.mark.parametrize("fitting", [True, False])
def test_too_many_pixels_for_an_array_are_found_out_at_once_or_on_the_way(
    count, fitting, tmp_path, picture, encoded, monkeypatch
):
    monkeypatch.setattr(spooling, "ARRAY_BYTES", PICTURE_BYTES * (6 if fitting else 5))
    spool = Spool(tmp_path, Wanted("auto", None, GEOMETRY, 1 << 20, count))
    files = [encoded(picture(seed)) for seed in range(6)]
    for first in (0, 2, 4):
        form: Form = spool.form
        spool.add(first, stow(tmp_path, (decode_content(file, form) for file in files[first : first + 2])), str)
        if first == 0 and count and not fitting:
            assert spool.pack == "encoded"
            assert sum(path.stat().st_size for path in tmp_path.glob("*.pixels.spool")) == 0
    spool.finish()
    rows = np.array([4, 0, 5])
    assert spool.pack == ("array" if fitting else "encoded")
    if fitting:
        assert np.array_equal(np.concatenate(list(spool.pixels(rows))), [picture(row) for row in rows])
    else:
        assert [bytes(file) for file in spool.files(rows)] == [files[row] for row in rows]
    chosen = np.stack([picture(row) for row in rows]).reshape(-1, 3).astype(int)
    assert spool.totals(rows) == (len(chosen), chosen.sum(0).tolist(), (chosen**2).sum(0).tolist())
    spool.remove()
    assert not list(tmp_path.iterdir())
