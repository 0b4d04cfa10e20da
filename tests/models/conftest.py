"""Networks are tested as a script would use them, whatever a training in the same process has set before."""

import pytest
import torch


@pytest.fixture(autouse=True)
def any_algorithm():
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(deterministic)
