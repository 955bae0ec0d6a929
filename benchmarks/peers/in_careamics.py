"""Noise2Void by CAREamics, run in its own environment by careamics_noisy.py: train for so many seconds, then restore.

    python in_careamics.py IMAGES.npz RESTORED.npz SECONDS

Its own defaults (create_n2v_config) but for the patch, the batch and the length. CAREamics wants torchvision for its
variational networks and for a number in an export; a stub stands in.
"""

from __future__ import annotations

import importlib.machinery
import sys
import time
import types

import numpy as np
import torchmetrics  # noqa: F401 - before the stub: it looks whether torchvision is there

for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
sys.modules["torchvision"].__version__ = "none"
sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]
sys.modules["torchvision.transforms"].functional = sys.modules["torchvision.transforms.functional"]

import lightning  # noqa: E402
from careamics import CAREamist  # noqa: E402
from careamics.config import create_n2v_config  # noqa: E402


class Until(lightning.pytorch.callbacks.Callback):
    """Ends the training after so many seconds of it."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.steps, self.began = seconds, 0, None

    def on_train_batch_end(self, trainer, module, *rest) -> None:
        self.began = self.began or time.monotonic()
        self.steps += 1
        if time.monotonic() - self.began > self.seconds:
            trainer.should_stop = True


def main() -> None:
    source, target, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    given = np.load(source)
    flat = given["train"].ndim == 3
    patch = [64, 64] if flat else [8, 32, 32]
    config = create_n2v_config("peer", "array", "SYX" if flat else "SZYX", patch, 16, num_epochs=10**4)
    until = Until(seconds)
    peer = CAREamist(config, work_dir=target + ".work", callbacks=[until], enable_progress_bar=False)
    peer.train(train_data=given["train"])
    tiles = {"tile_size": tuple(4 * n for n in patch[-2:]), "tile_overlap": (48, 48)} if flat else {}
    restored, _ = peer.predict(given["test"], **tiles)
    np.savez(target, restored=np.asarray(restored).reshape(given["test"].shape), steps=until.steps)


if __name__ == "__main__":
    main()
