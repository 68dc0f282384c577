"""N-HiTS and the Temporal Fusion Transformer against numbers that published implementations gave with the same weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from forecast_cases import BUILD

KEPT = json.loads((Path(__file__).parent / "forecast_nets.json").read_text())


def test_every_piece_is_kept():
    assert sorted(KEPT["cases"]) == sorted(BUILD)


@pytest.mark.parametrize("piece", BUILD)
def test_a_piece_gives_the_published_numbers(piece):
    case, (_, output) = KEPT["cases"][piece], BUILD[piece]()
    wanted = np.array(case["output"])
    assert wanted.shape == tuple(output.shape)
    assert np.abs(wanted).max() > 0.1  # zeros would agree with anything
    np.testing.assert_allclose(output.detach().numpy(), wanted, atol=1e-5, rtol=0)
