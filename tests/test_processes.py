"""Which GPUs each of several workers gets."""

import pytest

from striate.processes import gpus_of_worker


@pytest.mark.parametrize(
    ("visible", "there", "workers", "each", "given"),
    [
        (None, 3, 3, 1, ["0", "1", "2"]),
        ("4,7", 8, 2, 1, ["4", "7"]),  # under SLURM
        ("4,7", 2, 3, 1, ["4", "7", "4"]),
        ("GPU-a, GPU-b,GPU-c,GPU-d", 4, 2, 2, ["GPU-a,GPU-b", "GPU-c,GPU-d"]),
        ("4,7", 2, 2, 3, ["4,7", "7,4"]),
        (None, 4, 2, None, ["0,2", "1,3"]),
        ("4,7", 8, 3, None, ["4", "7", "4"]),
        ("0,1,-1,2", 4, 2, None, ["0", "1"]),
        ("4", 8, 2, 1, [None, None]),
        ("", 8, 2, 1, [None, None]),
        (None, 0, 2, 1, [None, None]),
        ("4,7", 8, 1, None, [None]),
    ],
)
def test_workers_share_the_gpus_that_they_may_use(visible, there, workers, each, given):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert [gpus_of_worker(environment, there, slot, workers, each) for slot in range(workers)] == given
