"""How good a restoration is: quality, calibration, reports."""
