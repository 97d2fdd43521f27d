"""Train the demo network on generated pictures: ``python tools/demo/train.py --out build/demo_weights.npz``."""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from network import Network, parameter_shapes, resize

from smalti.demo.generator import CLASS_NAMES, CROP, TRAIN_FIRST, demo_image

MOMENTUM = 0.98
WEIGHT_DECAY = 1e-2
VOID = 255
CALIBRATION_BATCHES = 60
HELD_OUT_FIRST = 2 * TRAIN_FIRST
HELD_OUT_COUNT = 40

Picture = tuple[np.ndarray, np.ndarray]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the weights are written (.npz)")
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--report", type=int, default=250, help="steps between two measurements")
    return parser.parse_args()


def initial(seed: int) -> dict[str, tf.Variable]:
    """Return fresh parameters: He initialisation for weights, identity for the norms."""
    rng = np.random.default_rng(seed)
    result = {}
    for name, shape in parameter_shapes():
        kind = name.rsplit("/", 1)[1]
        if kind in ("gamma", "moving_variance"):
            value = np.ones(shape)
        elif kind in ("beta", "moving_mean", "biases"):
            value = np.zeros(shape)
        else:
            fan_in = np.prod(shape[:2]) if kind == "depthwise_weights" else np.prod(shape[:3])
            value = rng.standard_normal(shape) * math.sqrt(2.0 / fan_in)
        result[name] = tf.Variable(value.astype(np.float32), trainable=not kind.startswith("moving"))
    return result


def batch_of(pictures: list[Picture], rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 [N, crop, crop, 3] and int32 [N, crop, crop]: mirrored, turned, recoloured, padded with grey."""
    x = np.zeros((size, CROP, CROP, 3), dtype=np.float32)
    y = np.full((size, CROP, CROP), VOID, dtype=np.int32)
    for k, index in enumerate(rng.integers(len(pictures), size=size)):
        image, mask = pictures[index]
        if rng.integers(2):
            image, mask = image.transpose(1, 0, 2), mask.T
        vertical, horizontal = (1 - 2 * int(v) for v in rng.integers(2, size=2))
        image, mask = image[::vertical, ::horizontal, rng.permutation(3)], mask[::vertical, ::horizontal]
        if rng.integers(2):
            image = 255 - image
        height, width = mask.shape
        x[k, :height, :width] = image * np.float32(2 / 255) - 1
        y[k, :height, :width] = mask
    return x, y


class Trainer:
    """The training and measuring steps over one set of parameters."""

    def __init__(self, parameters: dict[str, tf.Variable]) -> None:
        self.parameters = parameters
        self.trained = [v for v in parameters.values() if v.trainable]
        self.decayed = [v for n, v in parameters.items() if n.endswith("/weights")]
        self.first = [tf.Variable(tf.zeros_like(v)) for v in self.trained]
        self.second = [tf.Variable(tf.zeros_like(v)) for v in self.trained]

    def _training_norm(self, momentum: tf.Tensor) -> object:
        def norm(x: tf.Tensor, scope: str, epsilon: float) -> tf.Tensor:
            prefix = f"{scope}/BatchNorm/"
            y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=x,
                scale=self.parameters[prefix + "gamma"],
                offset=self.parameters[prefix + "beta"],
                mean=[],
                variance=[],
                epsilon=epsilon,
                is_training=True,
            )
            for kind, value in (("moving_mean", mean), ("moving_variance", variance)):
                moving = self.parameters[prefix + kind]
                moving.assign_add((value - moving) * (1 - momentum))
            return y

        return norm

    def _frozen_norm(self, x: tf.Tensor, scope: str, epsilon: float) -> tf.Tensor:
        p = [self.parameters[f"{scope}/BatchNorm/{k}"] for k in ("gamma", "beta", "moving_mean", "moving_variance")]
        return tf.raw_ops.FusedBatchNormV3(
            x=x, scale=p[0], offset=p[1], mean=p[2], variance=p[3], epsilon=epsilon, is_training=False
        )[0]

    def _logits(self, x: tf.Tensor, norm: object) -> tf.Tensor:
        network = Network(lambda name: tf.convert_to_tensor(self.parameters[name]), norm)
        return resize(network.head(network.body(x)), tf.constant([CROP, CROP]), "logits")

    @tf.function
    def step(self, x: tf.Tensor, y: tf.Tensor, rate: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """One step of Adam with decoupled weight decay; returns the loss."""
        with tf.GradientTape() as tape:
            logits = self._logits(x, self._training_norm(tf.constant(MOMENTUM)))
            known = tf.cast(tf.not_equal(y, VOID), tf.float32)
            labels = tf.where(tf.equal(y, VOID), 0, y)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_sum(losses * known) / tf.reduce_sum(known)
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, self.trained), 5.0)
        scale = rate * tf.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        for v, g, m, s in zip(self.trained, gradients, self.first, self.second, strict=True):
            m.assign(0.9 * m + 0.1 * g)
            s.assign(0.999 * s + 0.001 * g * g)
            v.assign_sub(scale * m / (tf.sqrt(s) + 1e-8))
        for v in self.decayed:
            v.assign_sub(rate * WEIGHT_DECAY * v)
        return loss

    @tf.function
    def calibrate(self, x: tf.Tensor, momentum: tf.Tensor) -> tf.Tensor:
        """Move the norms' statistics by one batch."""
        return tf.reduce_sum(self._logits(x, self._training_norm(momentum)))

    @tf.function
    def labels(self, x: tf.Tensor) -> tf.Tensor:
        return tf.argmax(self._logits(x, self._frozen_norm), axis=3)

    def miou(self, pictures: list[Picture]) -> tuple[float, np.ndarray]:
        """Return the mean and the per-class intersection over union."""
        counts = np.zeros((len(CLASS_NAMES), len(CLASS_NAMES)), dtype=np.int64)
        for image, mask in pictures:
            x = np.zeros((1, CROP, CROP, 3), dtype=np.float32)
            height, width = mask.shape
            x[0, :height, :width] = image * np.float32(2 / 255) - 1
            found = self.labels(x).numpy()[0, :height, :width]
            pairs = mask.astype(np.int64) * len(CLASS_NAMES) + found
            counts += np.bincount(pairs.reshape(-1), minlength=counts.size).reshape(counts.shape)
        hits = np.diag(counts)
        each = hits / (counts.sum(0) + counts.sum(1) - hits)
        return float(each.mean()), each

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{name: v.numpy() for name, v in self.parameters.items()})


def main() -> int:
    chosen = options()
    tf.config.threading.set_intra_op_parallelism_threads(chosen.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    started = time.monotonic()
    pictures = [demo_image(TRAIN_FIRST + k) for k in range(chosen.pictures)]
    held_out = [demo_image(HELD_OUT_FIRST + k) for k in range(HELD_OUT_COUNT)]
    print(f"{len(pictures)} pictures after {time.monotonic() - started:.0f} s", flush=True)
    trainer = Trainer(initial(chosen.seed))
    if chosen.start:
        with np.load(chosen.start) as saved:
            for name, variable in trainer.parameters.items():
                variable.assign(saved[name])
    rng = np.random.default_rng(chosen.seed)
    warm = max(1, min(200, chosen.steps // 10))
    losses = []
    for count in range(1, chosen.steps + 1):
        rate = chosen.rate * min(count / warm, 0.5 + 0.5 * math.cos(math.pi * count / (chosen.steps + 1)))
        x, y = batch_of(pictures, rng, chosen.batch)
        losses.append(float(trainer.step(x, y, tf.constant(rate, tf.float32), tf.constant(count, tf.float32))))
        if count % chosen.report == 0:
            seconds = time.monotonic() - started
            score = trainer.miou(held_out)[0]
            print(f"step {count}: loss {np.mean(losses):.4f}, held-out mIoU {score:.4f}, {seconds:.0f} s", flush=True)
            losses.clear()
            trainer.save(chosen.out)
    for k in range(CALIBRATION_BATCHES):
        x, _ = batch_of(pictures, rng, chosen.batch)
        trainer.calibrate(x, tf.constant(k / (k + 1), tf.float32))
    score, each = trainer.miou(held_out)
    trainer.save(chosen.out)
    print(f"finished after {time.monotonic() - started:.0f} s: held-out mIoU {score:.4f}")
    for name, value in zip(CLASS_NAMES, each, strict=True):
        print(f"  {name:<12}{value:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
