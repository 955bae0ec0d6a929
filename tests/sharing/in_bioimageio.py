"""Run by an interpreter that has bioimageio.core: test packages, without a network, and print what came of it as JSON.

python in_bioimageio.py NAMES PACKAGE ...    where NAMES, with commas, are the packages to be run in blocks too
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from pathlib import Path

os.environ["BIOIMAGEIO_CACHE_PATH"] = tempfile.mkdtemp()


def no_network(*_: object, **__: object) -> None:
    raise OSError("there is no network in this test")


socket.socket.connect = no_network  # type: ignore[method-assign,assignment]
socket.getaddrinfo = no_network  # type: ignore[assignment]

import numpy as np  # noqa: E402
from bioimageio.core import (  # noqa: E402
    create_prediction_pipeline,
    load_model_description,
    predict,
    test_model,
)
from bioimageio.core.digest_spec import create_sample_for_model  # noqa: E402


def errors(summary: object) -> list[str]:
    return [f"{d.name}: {e.loc} {e.msg}" for d in summary.details for e in d.errors]  # type: ignore[attr-defined]


def blocks(package: str, form: str) -> tuple[float, float]:
    """The largest difference of blockwise and whole prediction, in parts of the range: anywhere, and within the halo.

    Older versions continue blocks at the borders of the image, but not the whole image.
    """
    model = load_model_description(package)
    raw = model.inputs[0]
    shape = [1 if one.type == "batch" else len(one.channel_names) if one.type == "channel" else 0 for one in raw.axes]
    sizes: dict[tuple[str, str], int] = {}
    for place, one in enumerate(raw.axes):
        if one.type == "space":
            whole = one.id == "z" and len(model.outputs[0].axes) < len(raw.axes)  # of a stack that is projected
            shape[place] = one.size.min + 3 * one.size.step
            sizes[(str(raw.id), str(one.id))] = 3 if whole else 1
    image = np.random.default_rng(0).random(shape, np.float32) * 900 + 100
    given = {raw.id: image}
    pipeline = create_prediction_pipeline(model, weight_format=form)
    sample = create_sample_for_model(model, inputs={raw.id: image.copy()}, sample_id="whole")
    pipeline.apply_preprocessing(sample)  # before it is padded, which would change its percentiles, as in blocks
    whole = pipeline.predict_sample_without_blocking(sample, skip_preprocessing=True).members
    parts = predict(model=pipeline, inputs=given, blocksize_parameter=sizes).members
    anywhere, within = [], []
    for described in model.outputs:
        a, b = (np.asarray(each[described.id].data.data) for each in (whole, parts))
        apart = np.abs(a - b) / np.ptp(a)
        halos = [getattr(one, "halo", 0) for one in described.axes]
        inner = tuple(slice(halo, length - halo) for halo, length in zip(halos, a.shape, strict=True))
        anywhere.append(float(apart.max()))
        within.append(float(apart[inner].max()))
    return max(anywhere), max(within)


answers = {}
for package in sys.argv[2:]:
    answers[package] = {}
    for form in ("onnx", "torchscript"):
        tested = test_model(package, weight_format=form)
        answers[package][form] = {"status": tested.status, "errors": errors(tested)}
        if form == "torchscript" or Path(package).stem not in sys.argv[1].split(","):
            continue
        try:
            answers[package][form]["blocks"], answers[package][form]["within"] = blocks(package, form)
        except Exception as problem:
            answers[package][form]["blocks"] = f"{type(problem).__name__}: {problem}"[:400]
print(json.dumps(answers))
