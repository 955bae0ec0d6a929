"""Restoring with several processes: how much faster, at what cost, in how much memory, and after how many kills.

    python benchmarks/scale.py speed             # one process, one worker, two workers of one thread each
    python benchmarks/scale.py memory --work DIR # 20 GB on two workers: the peak of each. Run again to continue
    python benchmarks/scale.py kills             # 20 times: a worker, the command, the scheduler, all, in turn
    python benchmarks/scale.py plan              # 100 TB on paper: tiles, tasks, halos, hours
    python benchmarks/scale.py tasks             # 10^6 tasks without pixels: time and memory of Dask's scheduler
    ... --record                                 # also writes benchmarks/results/scale-NAME.txt

All restore through `veriscope restore`, with networks that were not trained: what they compute
takes as long. The figures of `speed` are the medians of alternating runs; only ratios of one run mean something.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
import psutil

COMMAND = [sys.executable, "-c", "from veriscope.apps.start import main; main()", "restore"]
HERE = str(Path(__file__).parent)
RESULTS = Path(HERE) / "results"


def model(**choices: Any) -> Any:
    import torch

    from veriscope.networks import build
    from veriscope.networks.model import Ensemble
    from veriscope.networks.recipe import Recipe

    torch.manual_seed(7)
    members = choices.pop("members", 1)
    recipe = Recipe(**choices)
    return Ensemble(recipe, tuple(build(recipe) for _ in range(members)))


def speed(options: argparse.Namespace) -> list[str]:
    """The usual 3D network on a stack, by the command: alone with one thread, and by workers of one thread each.

    Each way restores two tiles and all of them: what the difference takes is the time of a tile, the rest is start-up.
    """
    import veriscope as vs
    from veriscope.networks.folder import save

    tile, sizes = (32, 128, 128), {2: (32, 128, 256), options.tiles: (32, 128, 128 * options.tiles)}
    ways: dict[str, list[str]] = {"one process": [], "one worker": [], "two workers": [], "--workers 2": []}
    times: dict[tuple[str, int], list[float]] = {(way, size): [] for way in ways for size in sizes}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        here = Path(folder)
        save(model(axes="ZYX", members=2), here / "model")
        for size, shape in sizes.items():
            pixels = np.random.default_rng(0).integers(100, 1000, shape).astype("uint16")
            vs.save_image(here / f"{size}.ome.zarr", vs.Image(pixels, "ZYX", (0.3, 0.1, 0.1)))
        for count, way in ((1, "one worker"), (2, "two workers")):
            both, address = started(here, count)
            stack.callback(end, both)
            ways[way] = ["--cluster", address]
        ways["--workers 2"] = ["--workers", "2"]
        usual = ["--model", str(here / "model"), "--tile", ",".join(map(str, tile)), "--precision", "float32"]
        alone = {"env": os.environ | {"OMP_NUM_THREADS": "1"}, "stdout": subprocess.DEVNULL, "check": True}
        for _ in range(options.rounds):
            for (way, size), found in times.items():
                out = here / f"{way} {size}.ome.zarr"
                words = [str(here / f"{size}.ome.zarr"), "--out", str(out), "--overwrite", *usual, *ways[way]]
                began = time.perf_counter()
                subprocess.run([*COMMAND, *words], **alone)
                found.append(time.perf_counter() - began)
        whole = [contents(here / f"{way} {options.tiles}.ome.zarr") for way in ways]
    seconds = {key: statistics.median(found) for key, found in times.items()}
    lines = [f"image: {' x '.join(map(str, shape))}, {options.tiles} tiles of 32 x 128 x 128 pixels, 2 networks"]
    each = {}
    for way in ways:
        few, many = seconds[way, 2], seconds[way, options.tiles]
        each[way] = (many - few) / (options.tiles - 2)
        lines.append(
            f"{way + ':':<13} {many:6.1f} s {spread(times[way, options.tiles])}: start-up and end "
            f"{few - 2 * each[way]:.1f} s, {each[way]:.3f} s a tile"
        )
    one, alone_, two = (
        (seconds[way, options.tiles], each[way]) for way in ("one worker", "one process", "two workers")
    )
    lines.append(f"overhead of tasks, one worker against one process: {100 * (one[1] / alone_[1] - 1):.1f} % a tile, ")
    lines[-1] += f"{100 * (one[0] / alone_[0] - 1):.1f} % with start-up"
    lines.append(f"two workers against one: {one[0] / two[0]:.2f} times as fast, {one[1] / two[1]:.2f} a tile; ")
    lines[-1] += f"against one process {alone_[0] / two[0]:.2f}"
    lines.append(f"results of all the same, byte for byte: {all(one == whole[0] for one in whole)}")
    return lines


def started(folder: Path, workers: int, threads: int = 1) -> tuple[list[subprocess.Popen[bytes]], str]:
    """A scheduler and workers started by Dask's own commands, as docs/scale.md says; the address of the scheduler."""
    dask, where = str(Path(sys.executable).with_name("dask")), folder / f"scheduler-{workers}.json"
    where.unlink(missing_ok=True)
    paths = os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")]))
    ways = {"MALLOC_ARENA_MAX": "1", "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False", "PYTHONPATH": paths}
    place = ["--scheduler-file", str(where), "--host", "127.0.0.1", "--no-dashboard"]
    worker = ["--nworkers", str(workers), "--nthreads", str(threads), "--memory-limit", "0"]
    found = []
    for words in (["scheduler", "--port", "0"], ["worker", *worker]):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        found.append(subprocess.Popen([dask, *words, *place], env=os.environ | ways, cwd=folder, **quiet))
        while not (where.exists() and where.read_text().strip().endswith("}")):
            time.sleep(0.1)
    return found, str(json.loads(where.read_text())["address"])


def end(commands: list[subprocess.Popen[bytes]]) -> None:
    """Kill commands and what they started."""
    for one in commands:
        with contextlib.suppress(psutil.Error):
            for below in [*psutil.Process(one.pid).children(recursive=True), one]:
                with contextlib.suppress(psutil.Error):
                    below.kill()
        one.wait()


def spread(times: list[float]) -> str:
    return f"({min(times):.1f} to {max(times):.1f}, {len(times)} runs)"


def contents(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found.pop("zarr.json", None)  # which has the name of the file in it
    return found


def memory(options: argparse.Namespace) -> list[str]:
    """A movie of 20 GB whose chunks are few files under many names; all are restored, by a tiny network."""
    from veriscope.networks.folder import save

    work = Path(options.work)
    work.mkdir(parents=True, exist_ok=True)
    shape = repeated(work / "in.ome.zarr", options.gigabytes)
    if not (work / "model").exists():
        save(model(axes="YX", depth=1, base=4, stem=4, probabilistic=False), work / "model")
    words = [str(work / "in.ome.zarr"), "--model", str(work / "model"), "--out", str(work / "out.ome.zarr")]
    words += ["--workers", "2", "--memory", options.memory, "--dtype", "uint8", "--resume"]
    started = time.perf_counter()
    command = subprocess.Popen([*COMMAND, *words])
    peaks: dict[str, int] = {}
    while command.poll() is None:
        for kind, process in processes(command.pid):
            with contextlib.suppress(psutil.Error, OSError, StopIteration):
                status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                peak = next(line for line in status if line.startswith("VmHWM"))
                peaks[f"{kind} {process.pid}"] = 1024 * int(peak.split()[1])
        time.sleep(0.5)
    spent = time.perf_counter() - started
    done = (work / "out.ome.zarr").exists()
    state = "finished" if done else "not finished: run it again to continue"
    lines = [f"image: float32, {' x '.join(map(str, shape))}, {4 * np.prod(shape, dtype=float) / 1e9:.1f} GB"]
    lines.append(f"--workers 2 --memory {options.memory}: {spent:.0f} s in this run, {state}")
    lines += [f"peak (VmHWM) of {name.split()[0]}: {peak / 1e9:.2f} GB" for name, peak in peaks.items() if peak > 1e8]
    if done:
        shutil.rmtree(work)
    return lines


def repeated(path: Path, gigabytes: float) -> tuple[int, ...]:
    """A float32 movie of large planes as OME-Zarr whose chunks are hard links to 16 files."""
    import veriscope as vs

    side, few = 16384, 2048
    shape = (round(gigabytes * 1e9 / 4 / side**2), side, side)
    if path.exists():
        return shape
    rng, seed = np.random.default_rng(0), path.with_name("seed.ome.zarr")
    pixels = rng.integers(0, 12, (1, few, few)) + (200 * np.sin(np.arange(few) / 9.0) ** 2).astype(int)
    vs.save_image(seed, vs.Image(pixels.astype("float32"), "TYX", (0.1, 0.1)), overwrite=True)
    shutil.copytree(seed, path, ignore=lambda folder, names: ["c"] + [n for n in names if n.isdigit() and n != "0"])
    described = json.loads((path / "0" / "zarr.json").read_text())
    described["shape"] = list(shape)
    own = described["chunk_grid"]["configuration"]["chunk_shape"][1]
    (path / "0" / "zarr.json").write_text(json.dumps(described))
    facts = json.loads((path / "zarr.json").read_text())
    image = facts["attributes"]["ome"]["multiscales"][0]
    image["datasets"] = image["datasets"][:1]
    (path / "zarr.json").write_text(json.dumps(facts))
    for t, y in itertools.product(range(shape[0]), range(side // own)):
        target = path / "0" / "c" / str(t) / str(y)
        target.mkdir(parents=True)
        for x in range(side // own):
            os.link(seed / "0" / "c" / "0" / str(y % (few // own)) / str(x % (few // own)), target / str(x))
    return shape


def processes(command: int) -> list[tuple[str, psutil.Process]]:
    """A command and the workers that it started."""
    with contextlib.suppress(psutil.Error):
        whole = psutil.Process(command)
        below = whole.children(recursive=True)
        workers = [one for one in below if "spawn_main" in " ".join(one.cmdline())]
        return [("command", whole), *(("worker", one) for one in workers)]
    return []


TARGETS = ("worker", "client", "scheduler", "everything")


def kills(options: argparse.Namespace) -> list[str]:
    """SIGKILL at random moments, in turn of a worker, the command (the client), the scheduler, and all of them.

    Scheduler and workers are started by Dask's commands, and again when they are gone. A moment is drawn between the
    first notes in the journal and some seconds later, so that work is always under way.
    """
    import veriscope as vs
    from veriscope.networks.folder import save

    draw, done, begun, half = random.Random(0), dict.fromkeys(TARGETS, 0), time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        here, quiet = Path(folder), {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        out, journal = here / "many.ome.zarr", here / "many.ome.zarr.journal"
        save(model(axes="YX", depth=1, base=8, members=2), here / "model")
        pixels = np.random.default_rng(0).integers(100, 1000, (options.side, options.side)).astype("uint16")
        vs.save_image(here / "in.ome.zarr", vs.Image(pixels, "YX"))
        usual = [*COMMAND, str(here / "in.ome.zarr"), "--model", str(here / "model"), "--tile", "64", "--scale"]
        alone = os.environ | {"OMP_NUM_THREADS": "1"}
        one = [*usual, "--out", str(here / "one.ome.zarr"), "--precision", "float32"]
        subprocess.run(one, check=True, env=alone, **quiet)
        dask: list[subprocess.Popen[bytes]] = []
        running, runs = None, 0
        stack.callback(lambda: end(dask))

        def notes() -> int:
            return len(list(journal.glob("done-*")))

        def wait(ready: Any) -> None:
            while running.poll() is None and not ready():
                time.sleep(0.05)

        same, rounds, pairs = True, 0, [(here / f"one{n}.ome.zarr", here / f"many{n}.ome.zarr") for n in ("", ".scale")]
        while True:
            if running is not None and running.poll() == 0:
                rounds, same = rounds + 1, same and all(contents(one) == contents(other) for one, other in pairs)
                if sum(done.values()) >= options.kills:
                    break
                running = None
                for _, other in pairs:  # once more
                    shutil.rmtree(other)
            if not dask or dask[0].poll() is not None:
                end(dask)
                dask, address = started(here, 2)
            if running is None or running.poll() is not None:
                words = ["--out", str(out), "--cluster", address, "--resume"]
                running, runs = subprocess.Popen([*usual, *words], env=alone, **quiet), runs + 1
            if sum(done.values()) >= options.kills:
                running.wait()
                continue
            before = notes()
            wait(lambda before=before: notes() > before)
            pause = time.perf_counter() + draw.uniform(0, options.gap)
            wait(lambda pause=pause: time.perf_counter() > pause)
            if running.poll() is not None:
                continue
            half += out.exists() and contents(out) != contents(here / "one.ome.zarr")
            what = TARGETS[sum(done.values()) % len(TARGETS)]
            at_work = [one for kind, one in processes(dask[1].pid) if kind == "worker"]
            chosen: dict[str, list[Any]] = {"worker": draw.sample(at_work, min(1, len(at_work)))}
            chosen |= {"client": [running], "scheduler": dask[:1]}
            chosen["everything"] = [running, *dask, *at_work]
            for process in chosen[what]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            if what in ("client", "scheduler", "everything"):
                running.wait()
            done[what] += bool(chosen[what])
        left = [path.name for path in here.iterdir() if path.suffix in (".journal", ".unfinished")]
    lines = [f"image: {options.side} x {options.side}, tiles of 64 x 64, two results, two workers; "]
    lines[0] += f"{rounds} times from the beginning, {runs} runs of the command in {time.perf_counter() - begun:.0f} s"
    lines.append(f"killed: {sum(done.values())} times ({', '.join(f'{what} {count}' for what, count in done.items())})")
    lines.append(
        f"half-written results under their final names seen: {half}; left behind at the end: {left or 'nothing'}"
    )
    lines.append(f"the same as of one process that was not killed, byte for byte: {same}")
    return lines


def nothing(task: Any) -> Any:
    """Stands for a tile."""
    from veriscope.restoring.journal import Done

    return Done()


def tasks(options: argparse.Namespace) -> list[str]:
    """Tasks without pixels through the same window, with their journal; the scheduler is a process of its own."""
    from distributed import Client

    import veriscope as vs
    from veriscope.restoring.distributed import Dask
    from veriscope.restoring.job import Task
    from veriscope.restoring.journal import Journal

    count, lines = options.tasks, []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        dask, address = started(Path(folder), 1, threads=8)
        stack.callback(end, dask)
        scheduler, me = psutil.Process(dask[0].pid), psutil.Process()
        client = stack.enter_context(Client(address, timeout=60))
        engine = Dask(client, vs.Image(np.zeros((2, 2)), "YX"), None)
        journal = Journal(Path(folder) / "journal", [Path(folder) / "out.ome.zarr"])
        journal.begin({})
        begun, used = time.perf_counter(), scheduler.cpu_times()
        before, mine = scheduler.memory_info().rss, me.memory_info().rss
        lines.append(f"at the start: scheduler {before / 1e6:.0f} MB, client {mine / 1e6:.0f} MB")
        for number, (task, done) in enumerate(engine.run(nothing, (Task(0, n) for n in range(count)), count), 1):
            journal.note(task.key, done)
            if number % max(count // 10, 1) == 0:
                spent, now = time.perf_counter() - begun, scheduler.cpu_times()
                processor = now.user + now.system - used.user - used.system
                lines.append(
                    f"{number:>9,} tasks: {spent:6.0f} s, scheduler {processor:6.0f} s of processor time "
                    f"({1e3 * processor / number:.2f} ms a task), {scheduler.memory_info().rss / 1e6:.0f} MB; "
                    f"client {me.memory_info().rss / 1e6:.0f} MB"
                )
                print(lines[-1], flush=True)
        journal.flush()
        files = list((Path(folder) / "journal").glob("done-*"))
        lines.append(
            f"journal: {len(files)} files, {sum(file.stat().st_size for file in files) / count:.1f} bytes a task"
        )
    return lines


def plan(options: argparse.Namespace) -> list[str]:
    """On paper: 100 TB (uint16) with the usual 3D network, 5 members, by the memory that a GPU gives to a tile."""
    from dataclasses import replace

    import torch

    import veriscope as vs
    from veriscope.images.lazy import Blank
    from veriscope.restoring.prepared import prepare

    frames, shape = 1164, (512, 9160, 9160)
    image = vs.Image(Blank((frames, *shape), "uint16"), "TZYX")
    voxels = frames * np.prod(shape, dtype=float)
    lines = [f"image: {frames} time points of {' x '.join(map(str, shape))} voxels, {2 * voxels / 1e12:.0f} TB"]
    lines.append(
        "memory  tile             tasks       chunk           halos  hours at 1 and 10 million voxels/s and network"
    )
    for memory in ("4GB", "16GB", "64GB"):
        prepared = prepare(image, model(axes="ZYX", members=5), normalize="image")
        found = replace(prepared, memory=memory, device=torch.device("cuda")).plan
        chunk = prepared.parts.chunks(found.core, 1)[1:]
        work = [voxels * (1 + found.overhead) * found.members / speed / 3600 for speed in (1e6, 1e7)]
        sizes = [" x ".join(map(str, size)) for size in (found.core, chunk)]
        lines.append(
            f"{memory:<7} {sizes[0]:<16} {found.tiles:>9,}   {sizes[1]:<15} {100 * found.overhead:4.0f} %  "
            f"{work[0]:,.0f} and {work[1]:,.0f}"
        )
    return lines


WHAT = {"speed": speed, "memory": memory, "kills": kills, "tasks": tasks, "plan": plan}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(WHAT))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--memory", default="1.4GB")
    parser.add_argument("--work", default=str(Path(tempfile.gettempdir()) / "veriscope-scale"))
    parser.add_argument("--tiles", type=int, default=24, help="of the stack of speed")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--gap", type=float, default=4.0, help="seconds from a note in the journal to a kill, at most")
    parser.add_argument("--side", type=int, default=3072)
    parser.add_argument("--tasks", type=int, default=10**6)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    head = machine.header(f"Restoring with several processes: {options.what}")
    text = "\n".join([head, *WHAT[options.what](options)])
    print(text)
    if options.record:
        (RESULTS / f"scale-{options.what}.txt").write_text(text + "\n")


if __name__ == "__main__":
    main()
