"""Precision modes: which number types a network computes in, and the calibration that int8 needs."""
