"""Run by an interpreter that has csbdeep: open the folders beside images.npz, and write what csbdeep answers.

python in_csbdeep.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import csbdeep
import numpy as np
import tensorflow
from csbdeep.models import CARE, ProjectionCARE

place = Path(sys.argv[1])
answers = {}
with np.load(place / "images.npz") as images:
    for name in images.files:
        config = json.loads((place / name / "config.json").read_text())
        made = ProjectionCARE if "proj_axis" in config else CARE
        answers[name] = np.asarray(made(None, name, str(place)).keras_model.predict(images[name], verbose=0))
np.savez(place / "answers.npz", **answers)
versions = {"csbdeep": csbdeep.__version__, "tensorflow": tensorflow.__version__}
(place / "versions.json").write_text(json.dumps(versions))
