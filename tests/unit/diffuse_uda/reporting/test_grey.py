"""What of a scan is black and what is white."""

import numpy as np

from diffuse_uda.reporting.grey import SOFT_TISSUE_HU, as_grey, is_hounsfield, scan_window


def test_a_ct_gets_a_soft_tissue_window() -> None:
    ct = np.full((10, 10, 10), -1000.0)
    ct[2:8, 2:8, 2:8] = 40.0
    ct[5, 5, 5] = 800.0
    assert is_hounsfield(ct)
    assert scan_window(ct) == SOFT_TISSUE_HU


def test_an_mr_scan_gets_percentiles_of_its_body_whatever_its_units() -> None:
    mr = np.zeros((10, 10, 10))
    mr[2:8, 2:8, 2:8] = np.linspace(100, 300, 216).reshape(6, 6, 6)
    black, white = scan_window(mr)
    assert 100 <= black < 110
    assert 295 < white <= 300
    # The same scan normalised to a mean of 0 has values below 0 too, but is no CT.
    assert not is_hounsfield((mr - mr.mean()) / mr.std())


def test_grey_runs_from_black_to_white_and_no_further() -> None:
    picture = np.array([[-5.0, 0.0, 5.0, 10.0, 99.0]])
    assert as_grey(picture, (0.0, 10.0)).tolist() == [[0, 0, 128, 255, 255]]
