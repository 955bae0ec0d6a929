"""What is needed to repeat a comparison: the network, the images, the versions, and the machine that times are of."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from veriscope.cores import available
from veriscope.images.pairing import Pair
from veriscope.networks.model import Ensemble
from veriscope.version import __version__
from veriscope.wording import lengths


def facts_of(model: Ensemble) -> dict[str, dict[str, Any]]:
    """What the network is, and how it was trained."""
    training = {key: value for key, value in model.facts.training.items() if key != "recipe"}
    data = training.pop("data", None)
    counts = {"members": len(model), "parameters per member": model.parameters, "reach": list(model.reach)}
    return {
        "Network": {**model.recipe.to_json(), **counts},
        "Training": training,
        "Training data": data if isinstance(data, dict) else {},
    }


def facts_of_pairs(pairs: Sequence[Pair], model: Ensemble | None, normalize: Any) -> dict[str, Any]:
    """What is compared, and how it was normalised for the model, if there is one."""
    facts = {
        "images": [pair.name for pair in pairs],
        "shape": ", ".join(dict.fromkeys(lengths(pair.high.shape) for pair in pairs)),
        "axes": ", ".join(dict.fromkeys(pair.high.axes for pair in pairs)),
        "voxel size, um": next((pair.high.voxel_size for pair in pairs if pair.high.voxel_size), None),
    }
    word = normalize if isinstance(normalize, str) else repr(normalize)
    return facts if model is None else {**facts, "normalize": word}


def versions() -> dict[str, str]:
    """Of veriscope, Python and the libraries that decide the figures."""
    known = {"veriscope": __version__, "python": platform.python_version()}
    for name in ("torch", "numpy", "scipy", "scikit-image"):
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    known["machine"] = f"{platform.system()} {platform.machine()}"
    return known


def machine() -> dict[str, Any]:
    """Processor, cores that may be used, threads of torch and the GPU, where there is one."""
    import torch

    known = {"processor": _processor(), "cores": available(), "threads of torch": torch.get_num_threads()}
    known |= {"GPU": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {**known, "system": f"{platform.system()} {platform.machine()}"}


def _processor() -> str:
    info = Path("/proc/cpuinfo")  # Linux; elsewhere Python knows
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
