"""The last operations of a segmentation graph in numpy and OpenCV, for engines that stop at the logits.

A bilinear resize is linear in rows and in columns, so any chain of them is one matrix from the left and one from the
right; the matrix products run in BLAS and the arg-max in OpenCV's vector code, which was the fastest of the ways tried.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.engines.spec import ResizeStage, Size, Upsampling

Matrix = NDArray[np.float32]
MAX_CHANNELS = 256


class Finisher:
    """Makes int32 labels ``[H, W]`` from what an engine returns."""

    def __init__(self, upsampling: tuple[Upsampling, ...]) -> None:
        self._matrices = {u.image: (_chain(u.stages, 0), _chain(u.stages, 1)) for u in upsampling}

    def __call__(self, result: NDArray[np.generic], size: Size) -> NDArray[np.int32]:
        """Return labels from labels ``[1, H, W]`` of any integer type, or from logits ``[1, h, w, C]``."""
        if result.ndim == 4 and self._matrices:
            rows, columns = self._matrices[size]
            return upsample_argmax(np.asarray(result[0], np.float32), rows, columns)[: size[0], : size[1]]
        labels = result.reshape(result.shape[-2:])
        return labels[: size[0], : size[1]].astype(np.int32, copy=False)


def upsample_argmax(logits: Matrix, rows: Matrix, columns: Matrix) -> NDArray[np.int32]:
    """Return the arg-max over channels of ``rows @ logits[:, :, c] @ columns.T``, the first of equals."""
    height, width, channels = logits.shape
    if channels > MAX_CHANNELS:
        raise ValueError(f"{channels} classes; the labels are made in one byte")
    tall = (rows @ logits.reshape(height, width * channels)).reshape(rows.shape[0], width, channels)
    planes = np.ascontiguousarray(tall.transpose(2, 0, 1))
    right = np.ascontiguousarray(columns.T)
    best = planes[0] @ right
    labels = np.zeros(best.shape, np.uint8)
    plane = np.empty_like(best)
    for channel in range(1, channels):
        np.matmul(planes[channel], right, out=plane)
        higher = cv2.compare(plane, best, cv2.CMP_GT)
        cv2.max(plane, best, dst=best)
        labels = cv2.max(labels, np.bitwise_and(higher, np.uint8(channel)))
    return labels.astype(np.int32)


def resize_matrix(source: int, result: int, align_corners: bool, half_pixel_centers: bool) -> Matrix:
    """Return the ``[result, source]`` matrix of TensorFlow's bilinear resize along one axis."""
    if align_corners and result > 1:
        scale = np.float32(source - 1) / np.float32(result - 1)
    else:
        scale = np.float32(source) / np.float32(result)
    index = np.arange(result, dtype=np.float32)
    place = (index + np.float32(0.5)) * scale - np.float32(0.5) if half_pixel_centers else index * scale
    floor = np.floor(place)
    low = np.clip(floor.astype(np.int64), 0, source - 1)
    high = np.clip(np.ceil(place).astype(np.int64), 0, source - 1)
    share = (place - floor).astype(np.float32)
    matrix = np.zeros((result, source), np.float32)
    np.add.at(matrix, (np.arange(result), low), np.float32(1) - share)
    np.add.at(matrix, (np.arange(result), high), share)
    return matrix


def _chain(stages: tuple[ResizeStage, ...], axis: int) -> Matrix:
    total: Matrix | None = None
    for stage in stages:
        step = resize_matrix(stage.source[axis], stage.result[axis], stage.align_corners, stage.half_pixel_centers)
        total = step if total is None else step @ total
    if total is None:
        raise ValueError("no resize between the logits and the labels")
    return np.ascontiguousarray(total)
