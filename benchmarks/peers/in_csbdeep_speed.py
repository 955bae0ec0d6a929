"""Run by an interpreter that has csbdeep: how long its own restoring and training take.

python in_csbdeep_speed.py FOLDER restore NAME ROUNDS      seconds of each round, after one that warms up
python in_csbdeep_speed.py FOLDER train NAME STEPS BATCH   patches a second, checking included
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from csbdeep.models import CARE, Config
from tensorflow.keras.callbacks import LambdaCallback

place, what, name, *numbers = Path(sys.argv[1]), *sys.argv[2:]
with np.load(place / f"{name}.npz") as stored:
    arrays = dict(stored)
axes = "ZYX" if arrays["image"].ndim == 3 else "YX"
if what == "restore":
    model = CARE(None, name, str(place))
    seconds = []
    for _ in range(1 + int(numbers[0])):
        began = time.perf_counter()
        model.predict_probabilistic(arrays["image"], axes) if model.config.probabilistic else model.predict(
            arrays["image"], axes
        )
        seconds.append(time.perf_counter() - began)
    print(json.dumps(seconds[1:]))
else:
    steps, batch = map(int, numbers)
    config = json.loads((place / name / "config.json").read_text())
    settings = {key: config[key] for key in ("probabilistic", "unet_n_depth", "unet_kern_size", "unet_n_first")}
    made = Config(axes + "C", train_batch_size=batch, train_steps_per_epoch=steps, train_tensorboard=False, **settings)
    model = CARE(made, "trained", str(place))
    low, high = (np.moveaxis(arrays[key], 1, -1) for key in ("low", "high"))
    checks = max(batch, len(low) // 10)
    began: list[float] = []
    model.prepare_for_training()
    model.callbacks.append(LambdaCallback(on_epoch_begin=lambda epoch, logs: began.append(time.perf_counter())))
    model.train(low, high, (low[:checks], high[:checks]), epochs=5, steps_per_epoch=steps)
    print(json.dumps([steps * batch / median(np.diff(began)[1:])]))  # the first makes the graph
