"""A training step beside the loader that feeds it: seconds an image, and the share lost to waiting.

Noise is trained on: speed does not depend on what images show. The step runs on the threads that
torch takes; the loader alone on one, as a core would run it. `--scale 2` shrinks the images.

    python -m tests.benchmarks.bench_training [--steps N] [--encoders NAME ...] [--out FILE]
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.architecture import Architecture
from model.bundle_file import SHIPPED as SHIPPED_BUNDLE
from model.bundle_file import Bundle
from model.network import AxNet, parameter_count
from model.training import batches, traces
from model.training.augment import augment
from model.training.config import Augmentation, Stage, TrainConfig
from model.training.data import Cache
from model.training.loop import Trainer

SHIPPED = "shipped"  # the architecture of the bundle that ships, its borrowed classifier too
DISTURBED = Augmentation(calipers_p=0.15, blank_p=0.06)  # as the shipped bundle


def noise(count: int) -> Cache:
    """Make images of full size with a node in each."""
    rng = np.random.default_rng(0)
    masks = np.zeros((count, 256, 320), np.uint8)
    masks[:, 80:160, 100:200] = 1
    return Cache(
        images=rng.integers(0, 255, masks.shape, np.uint8),
        masks=masks,
        annotated=np.ones(count, np.bool_),
        labels=(np.arange(count) % 2).astype(np.int8),
        patients=tuple(f"p{number}" for number in range(count)),
    )


def loader_s(cache: Cache, repeats: int) -> float:
    """Median processor seconds of one core for an image, from array to augmented tensor."""
    threads, taken = torch.get_num_threads(), []
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    for number in range(repeats):
        chosen = rng.permutation(len(cache.patients))[:8]
        started = time.process_time()
        batch = traces.disturb(batches.collect(cache, chosen, 1), DISTURBED, rng)
        batch = batches.look_alone(batch, 0.5, rng)
        augment(batch, DISTURBED, torch.Generator().manual_seed(number))
        taken.append((time.process_time() - started) / 8)
    torch.set_num_threads(threads)
    return statistics.median(taken)


def measured(encoder: str, cache: Cache, scale: int) -> dict[str, Any]:
    """Train an epoch; seconds an image, what was waited for, and the forward pass's operations."""
    shipped = encoder == SHIPPED
    architecture = (
        Bundle.load(SHIPPED_BUNDLE).card.architecture if shipped else Architecture(encoder)
    )
    stage = Stage(epochs=1, scale=scale, batch=8, learning_rate=1e-4)
    config = TrainConfig(
        architecture=architecture, stages=(stage,), augmentation=DISTURBED, checkpoint_steps=0
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Path(folder), lambda line: None)
        few = replace(
            cache, images=cache.images[:8], masks=cache.masks[:8], patients=cache.patients[:8],
            annotated=cache.annotated[:8], labels=cache.labels[:8],
        )  # fmt: skip
        row = trainer.fit(cache, few).history[0]
    network = AxNet(architecture).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, 256, 320))
    return {
        "encoder": encoder,
        "parameters_m": round(parameter_count(network) / 1e6, 2),
        "seconds_per_image": round(row.seconds / len(cache.patients), 3),
        "waited_share": round(row.waited / row.seconds, 4),
        "forward_gflop": round(counter.get_total_flops() / 1e9, 2),
    }


def main() -> int:
    """Print a line per encoder and one for the loader."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_training")
    parser.add_argument("--steps", type=int, default=8, help="steps of an epoch (default: 8)")
    parser.add_argument("--encoders", nargs="+", default=[SHIPPED, "resnet34", "resnet101"])
    parser.add_argument("--scale", type=int, default=1, help="images shrunk by this (default: 1)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    cache = noise(8 * args.steps)
    alone = loader_s(cache, 20)
    print(f"loader: {1000 * alone:.1f} ms of one core an image, {1 / alone:.0f} images/s")
    rows = []
    for encoder in args.encoders:
        row = measured(encoder, cache, args.scale)
        core_s = row["seconds_per_image"] * torch.get_num_threads()
        row["loader_times_step"] = round(core_s / alone, 1)
        rows.append(row)
        seconds, times = row["seconds_per_image"], row["loader_times_step"]
        print(
            f"{encoder}: {row['parameters_m']} M parameters, {seconds} s an image on"
            f" {torch.get_num_threads()} threads, loader {times} times as fast for a core,"
            f" waiting {row['waited_share']:.1%}, forward {row['forward_gflop']} GFLOP",
            flush=True,
        )
    if args.out:
        args.out.write_text(json.dumps({"loader_s": alone, "encoders": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
