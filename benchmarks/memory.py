"""The largest memory that restoring a 4 GB image takes: from an OME-Zarr on disk to an OME-Zarr on disk.

    python benchmarks/memory.py                  # 4 GB, minutes
    python benchmarks/memory.py --gigabytes 0.25 # a try
    python benchmarks/memory.py --limits         # what --memory allows against the peak, of planes and stacks
    python benchmarks/memory.py --record         # also writes benchmarks/results/memory.txt

The image (uint16) is made chunk by chunk in a temporary folder and restored in a child process, whose peak resident
memory is printed next to the bound of 1.5 GB and the size of the image, and its time next to that of reading and
writing the same image without a network. The network is small and untrained; what is held in memory follows from
--memory, not from the network or the image.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np

BOUND = 1.5e9  # bytes
CHUNK = (32, 256, 256)
PLANE = (2048, 2048)


def make(path: Path, gigabytes: float) -> tuple[int, ...]:
    """A uint16 OME-Zarr 0.5 of soft blobs on a noisy background (12 grey values, so that it compresses)."""
    import zarr

    depth = max(round(gigabytes * 1e9 / (2 * PLANE[0] * PLANE[1]) / CHUNK[0]), 1) * CHUNK[0]
    shape = (depth, *PLANE)
    group = zarr.open_group(path, mode="w", zarr_format=3)
    axes = [{"name": letter, "type": "space", "unit": "micrometer"} for letter in "zyx"]
    scale = [{"type": "scale", "scale": [0.3, 0.1, 0.1]}]
    levels = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": levels}]}
    array = group.create_array("0", shape=shape, chunks=CHUNK, dtype="uint16", dimension_names=["z", "y", "x"])
    chunks = [_chunk(seed) for seed in range(8)]
    for number, corner in enumerate(np.ndindex(*(size // step for size, step in zip(shape, CHUNK, strict=True)))):
        where = tuple(slice(at * step, (at + 1) * step) for at, step in zip(corner, CHUNK, strict=True))
        array[where] = chunks[number % len(chunks)]
    return shape


def _chunk(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    z, y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in CHUNK)
    blobs = np.zeros(CHUNK, dtype=np.float32)
    for _ in range(12):
        at, width = rng.uniform(-0.8, 0.8, 3), rng.uniform(0.05, 0.2)
        near = [np.exp(-(((line - place) / width) ** 2)) for line, place in zip((z, y, x), at, strict=True)]
        blobs += near[0][:, None, None] * near[1][:, None] * near[2]
    return (100 + rng.integers(0, 12, CHUNK) + 1000 * blobs).astype(np.uint16)


def restore(source: Path, out: Path, base: int, memory: str) -> dict[str, Any]:
    """In the child: restore, then say how long it took and how much memory this process ever had."""
    import torch

    import veriscope as vs
    from veriscope.networks import build
    from veriscope.networks.model import Ensemble
    from veriscope.networks.recipe import Recipe
    from veriscope.restoring.tofile import restore_to_file

    torch.manual_seed(0)
    recipe = Recipe(axes="ZYX", depth=1, base=base, stem=4)
    ensemble = Ensemble(recipe, (build(recipe),))
    ready = peak()
    start = time.perf_counter(), time.process_time()
    image = vs.read_image(source, lazy=True)
    report = restore_to_file(image, ensemble, out, dtype="uint16", memory=memory, normalize="image")
    return {**spent(start), "ready": ready, "peak": peak(), "plan": str(report.plan)}


def copy(source: Path, out: Path) -> dict[str, Any]:
    """In the child: read and write the same chunks, nothing else."""
    import zarr

    start = time.perf_counter(), time.process_time()
    array = zarr.open_group(source, mode="r")["0"]
    target = zarr.create_array(out, shape=array.shape, chunks=array.chunks, dtype=array.dtype)
    for z in range(0, array.shape[0], CHUNK[0]):
        for y in range(0, array.shape[1], CHUNK[1]):
            target[z : z + CHUNK[0], y : y + CHUNK[1]] = array[z : z + CHUNK[0], y : y + CHUNK[1]]
    return spent(start)


def spent(start: tuple[float, float]) -> dict[str, float]:
    """Seconds since `start` by the clock, and of processor time, which does not count what others do meanwhile."""
    return {"seconds": time.perf_counter() - start[0], "processor": time.process_time() - start[1]}


def peak() -> float:
    """Bytes of memory that this process has had at most."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024)


def child(*words: str) -> dict[str, Any]:
    """What a fresh process with these arguments answers."""
    ended = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return answer


EVERYTHING = "--scale --interval 0.9 --probability 50 --entropy --disagreement --trust-mask"
ALLOWED = ("800MB", "1GB")
MARGIN = 1.05  # that a peak may reach of what is allowed


def limits(pixels: float) -> tuple[list[str], float]:
    """Peaks of the command line with every output on: planes and stacks, TIFF and Zarr; the largest, as a fraction of
    what was allowed.
    """
    from veriscope.images.image import Image
    from veriscope.images.writing import save_image
    from veriscope.restoring.plan import parse

    rng, lines, largest = np.random.default_rng(0), [], 0.0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for axes, shape in (("YX", (128, 128)), ("ZYX", (16, 64, 64))):
            for kind in ("low", "high"):
                (folder / axes / kind).mkdir(parents=True)
            for number in range(3):
                truth = Image(rng.integers(100, 4000, shape).astype(np.uint16), axes)
                for kind in ("low", "high"):
                    save_image(folder / axes / kind / f"{number}.tif", truth)
            words = f"--members 2 --epochs 1 --base 4 --depth 1 --per-image 8 --out {folder / axes}-model"
            command("train", folder / axes / "low", folder / axes / "high", *words.split())
            side = round(pixels**0.5) if axes == "YX" else round((pixels / 64) ** 0.5)
            big = (side, side) if axes == "YX" else (64, side, side)
            array = rng.integers(100, 4000, big).astype(np.uint16)
            for suffix in (".ome.tif", ".ome.zarr"):
                image = save_image(folder / f"{axes}{suffix}", Image(array, axes))
                for allowed in ALLOWED:
                    model, out = f"{folder / axes}-model", folder / f"out-{axes}{suffix}"
                    form = "zarr" if "zarr" in suffix else "tif"
                    most = command(
                        "restore", image, "--model", model, "--out", out.with_suffix(""), "--format", form,
                        "--overwrite", "--memory", allowed, *EVERYTHING.split(),
                    )  # fmt: skip
                    size = " x ".join(map(str, big))
                    part = most / parse(allowed)
                    largest = max(largest, part)
                    lines.append(
                        f"{size:<17} {suffix:<9} --memory {allowed:<5} peak {most / 1e6:5,.0f} MB, {part:4.0%}"
                    )
                    print(lines[-1], flush=True)
    return lines, largest


def command(*words: object) -> float:
    """Run the command line in a process of its own; the most bytes that it held.

    By its own mark on Linux: `ru_maxrss` of a child also counts what this process held when it was started.
    """
    code = (
        "import resource, sys\nfrom veriscope.apps.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "if sys.platform == 'linux': most = open('/proc/self/status').read().split('VmHWM:')[1].split()[0]\n"
        "print(most, file=sys.stderr)\nsys.exit(code)"
    )
    ended = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True)
    return float(ended.stderr.split()[-1]) * (1 if sys.platform == "darwin" else 1024)


def record(name: str, lines: list[str]) -> None:
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.txt").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="of the image (default 4)")
    parser.add_argument("--base", type=int, default=4, help="channels of the network (default 4)")
    parser.add_argument("--memory", default="800MB", help="that restoring may use for tiles (default 800MB)")
    parser.add_argument("--folder", type=Path, help="where the temporary images go (default: the system's)")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/memory.txt")
    parser.add_argument("--limits", action="store_true", help="what is allowed against the peak, every output on")
    parser.add_argument("--megapixels", type=float, default=100.0, help="of the images of --limits (default 100)")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "IN", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        what, source, out = given.child[0], Path(given.child[1]), Path(given.child[2])
        answer = copy(source, out) if what == "copy" else restore(source, out, given.base, given.memory)
        print(json.dumps(answer))
        return

    if given.limits:
        head = machine.header(
            "Memory that --memory allows, and the peak of the whole process, with every output written"
        )
        print(head, flush=True)
        lines, largest = limits(given.megapixels * 1e6)
        if given.record:
            record("memory-limits", [head, *lines])
        sys.exit(largest > MARGIN)
    lines = [machine.header("Memory of restoring an OME-Zarr to an OME-Zarr")]
    print(lines[0], flush=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        source = Path(folder) / "image.ome.zarr"
        shape = make(source, given.gigabytes)
        size = 2 * float(np.prod(shape))
        stored = sum(file.stat().st_size for file in source.rglob("*") if file.is_file())
        lines.append(
            f"image: uint16, {' x '.join(map(str, shape))}, {size / 1e9:.2f} GB ({stored / 1e9:.2f} GB compressed)"
        )
        lines.append(f"network: 3D, depth 1, base {given.base}, stem 4; memory for tiles: {given.memory}")
        print("\n".join(lines[-2:]), flush=True)
        settings = ("--base", str(given.base), "--memory", given.memory)
        found = child(*settings, "--child", "restore", str(source), str(Path(folder) / "restored.ome.zarr"))
        plain = child("--child", "copy", str(source), str(Path(folder) / "copy.zarr"))
    verdict = "under" if found["peak"] < BOUND else "ABOVE"
    lines += [
        found["plan"],
        f"peak memory: {found['peak'] / 1e9:.2f} GB, {verdict} the bound of {BOUND / 1e9:.1f} GB, "
        f"{found['peak'] / size:.2f} of the image (of it {found['ready'] / 1e9:.2f} GB before it was opened)",
        f"time: {found['seconds']:.0f} s by the clock, {found['seconds'] / plain['seconds']:.1f} x reading and writing "
        f"the image; {found['processor']:.0f} s of processor time, {found['processor'] / plain['processor']:.1f} x; "
        f"{size / 2 / found['seconds'] / 1e6:.2f} million voxels/s",
    ]
    print("\n".join(lines[-3:]))
    if given.record:
        record("memory", lines)
    sys.exit(found["peak"] >= BOUND)


if __name__ == "__main__":
    main()
