"""Restoring with several processes: how much faster, at what cost, in how much memory, and after how many kills.

    python benchmarks/scale.py speed             # one process, one worker, two workers of one thread each
    python benchmarks/scale.py memory --work DIR # 20 GB on two workers: the peak of each. Run again to continue
    python benchmarks/scale.py kills --kills 20  # workers, the command and everything killed at random
    python benchmarks/scale.py plan              # 100 TB on paper: tiles, tasks, halos, hours
    python benchmarks/scale.py tasks             # 10^6 tasks without pixels: time and memory of Dask's scheduler
    ... --record                                 # also writes benchmarks/results/scale-NAME.txt

All restore through `restore_to_file` or `veriscope restore`, with networks that were not trained: what they compute
takes as long. The figures of `speed` are the medians of alternating runs; only ratios of one run mean something.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
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
    """The usual 3D network on a stack: in one process with one thread, and by workers of one thread each."""
    import torch
    from distributed import Client, LocalCluster

    import veriscope as vs
    from veriscope.restoring.tofile import restore_to_file

    torch.set_num_threads(1)
    used, shape, tile = model(axes="ZYX", members=2), (32, 256, 512), (32, 128, 128)
    lines, times = [], {0: [], 1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        stack = np.random.default_rng(0).integers(100, 1000, shape).astype("uint16")
        vs.save_image(here / "in.ome.zarr", vs.Image(stack, "ZYX", (0.3, 0.1, 0.1)))
        image = vs.read_image(here / "in.ome.zarr", lazy=True)
        with contextlib.ExitStack() as stack_of:
            clients = {}
            for count in (1, 2):
                quiet = {"dashboard_address": "127.0.0.1:0", "memory_limit": 0}
                cluster = LocalCluster(n_workers=count, threads_per_worker=1, **quiet)
                clients[count] = stack_of.enter_context(Client(stack_of.enter_context(cluster)))
            for round_ in range(options.rounds + 1):
                for count in times:
                    how = {"cluster": clients[count]} if count else {}
                    part = image.region(Z=slice(0, 32), Y=slice(0, 128), X=slice(0, 256)) if round_ == 0 else image
                    out = here / f"{count}.ome.zarr"
                    report = restore_to_file(part, used, out, tile=tile, overwrite=True, precision="float32", **how)
                    if round_:  # the first one warms up
                        times[count].append(report.seconds)
            same = contents(here / "0.ome.zarr") == contents(here / "1.ome.zarr") == contents(here / "2.ome.zarr")
    plain, one, two = (statistics.median(times[count]) for count in times)
    size = " x ".join(map(str, shape))
    lines.append(f"image: {size}, {report.tiles} tiles of 32 x 128 x 128 pixels, 2 networks")
    lines.append(f"one process:  {plain:6.1f} s   {spread(times[0])}")
    lines.append(f"one worker:   {one:6.1f} s   {spread(times[1])}   overhead of tasks {100 * (one / plain - 1):.1f} %")
    lines.append(
        f"two workers:  {two:6.1f} s   {spread(times[2])}   {one / two:.2f} times as fast as one worker, "
        f"{plain / two:.2f} times as fast as one process"
    )
    lines.append(f"results of all three the same, byte for byte: {same}")
    return lines


def spread(times: list[float]) -> str:
    return f"({min(times):.1f} to {max(times):.1f}, {len(times)} runs)"


def contents(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found.pop("zarr.json", None)  # which has the name of the file in it
    return found


def memory(options: argparse.Namespace) -> list[str]:
    """A stack of 20 GB whose chunks are few files under many names."""
    from veriscope.networks.folder import save

    work = Path(options.work)
    work.mkdir(parents=True, exist_ok=True)
    shape = repeated(work / "in.ome.zarr", options.gigabytes)
    if not (work / "model").exists():
        save(model(axes="ZYX", depth=1, base=4, stem=2, probabilistic=False), work / "model")
    words = [str(work / "in.ome.zarr"), "--model", str(work / "model"), "--out", str(work / "out.ome.zarr")]
    words += ["--workers", "2", "--memory", options.memory, "--dtype", "uint8", "--resume"]
    started = time.perf_counter()
    command = subprocess.Popen([*COMMAND, *words])
    peaks: dict[str, int] = {}
    with contextlib.suppress(KeyboardInterrupt):
        while command.poll() is None:
            if time.perf_counter() - started > options.seconds:
                command.send_signal(signal.SIGINT)
                command.wait(60)
                break
            for kind, process in processes(command.pid):
                with contextlib.suppress(psutil.Error, OSError, StopIteration):
                    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                    peak = next(line for line in status if line.startswith("VmHWM"))
                    peaks[f"{kind} {process.pid}"] = 1024 * int(peak.split()[1])
            time.sleep(0.5)
    spent = time.perf_counter() - started
    state = "finished" if (work / "out.ome.zarr").exists() else "not finished yet: run it again to continue"
    lines = [f"image: uint16, {' x '.join(map(str, shape))}, {2 * np.prod(shape, dtype=float) / 1e9:.1f} GB"]
    lines.append(f"--workers 2 --memory {options.memory}: {spent:.0f} s in this run, {state}")
    lines += [f"peak of {name.split()[0]}: {peak / 1e9:.2f} GB" for name, peak in peaks.items() if peak > 1e8]
    return lines


def repeated(path: Path, gigabytes: float) -> tuple[int, ...]:
    """A uint16 OME-Zarr whose chunks are hard links to eight files."""
    import veriscope as vs

    side, chunk = 2048, (32, 256, 256)
    depth = round(gigabytes * 1e9 / 2 / side**2 / chunk[0]) * chunk[0]
    shape = (depth, side, side)
    if path.exists():
        return shape
    rng = np.random.default_rng(0)
    few = rng.integers(0, 12, (chunk[0], side, side)).astype("uint16")
    few += (200 * np.sin(np.arange(side) / 9.0) ** 2).astype("uint16")
    seed = path.with_name("seed.ome.zarr")
    vs.save_image(seed, vs.Image(few, "ZYX", (0.3, 0.1, 0.1)), overwrite=True)
    import json

    shutil.copytree(seed, path, ignore=lambda folder, names: ["c"] + [n for n in names if n.isdigit() and n != "0"])
    described = json.loads((path / "0" / "zarr.json").read_text())
    described["shape"] = list(shape)
    own = described["chunk_grid"]["configuration"]["chunk_shape"]
    (path / "0" / "zarr.json").write_text(json.dumps(described))
    facts = json.loads((path / "zarr.json").read_text())
    image = facts["attributes"]["ome"]["multiscales"][0]
    image["datasets"] = image["datasets"][:1]
    (path / "zarr.json").write_text(json.dumps(facts))
    layers = few.shape[0] // own[0]
    for z in range(depth // own[0]):
        for y in range(side // own[1]):
            target = path / "0" / "c" / str(z) / str(y)
            target.mkdir(parents=True)
            for x in range(side // own[2]):
                os.link(seed / "0" / "c" / str(z % layers) / str(y) / str(x), target / str(x))
    return shape


def processes(command: int) -> list[tuple[str, psutil.Process]]:
    """The command and its workers."""
    with contextlib.suppress(psutil.Error):
        whole = psutil.Process(command)
        below = whole.children(recursive=True)
        workers = [one for one in below if "spawn_main" in " ".join(one.cmdline())]
        return [("command", whole), *(("worker", one) for one in workers)]
    return []


def kills(options: argparse.Namespace) -> list[str]:
    """SIGKILL at random moments: of a worker, of the command (the scheduler and its client), of everything."""
    import veriscope as vs
    from veriscope.networks.folder import save

    draw, done = random.Random(0), {"worker": 0, "command": 0, "everything": 0}
    half = 0
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        save(model(axes="YX", depth=1, base=8, members=2), here / "model")
        pixels = np.random.default_rng(0).integers(100, 1000, (options.side, options.side)).astype("uint16")
        vs.save_image(here / "in.ome.zarr", vs.Image(pixels, "YX"))
        usual = [*COMMAND, str(here / "in.ome.zarr"), "--model", str(here / "model"), "--tile", "64", "--scale"]
        subprocess.run([*usual, "--out", str(here / "one.ome.zarr")], check=True, stdout=subprocess.DEVNULL)
        many = [*usual, "--out", str(here / "many.ome.zarr"), "--workers", "2", "--resume"]
        runs, quiet = 0, {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        while True:
            command, runs = subprocess.Popen(many, **quiet), runs + 1
            while command.poll() is None and sum(done.values()) < options.kills:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    command.wait(draw.uniform(1, options.gap))
                if command.poll() is not None:
                    break
                half += (here / "many.ome.zarr").exists()
                what, there = draw.choice(list(done)), processes(command.pid)
                workers = [process for kind, process in there if kind == "worker"]
                chosen = {"worker": workers[:1], "command": [psutil.Process(command.pid)]}
                chosen["everything"] = [*chosen["command"], *workers]
                if not chosen[what]:
                    continue
                for process in chosen[what]:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                done[what] += 1
            if command.wait() == 0:
                break
        pairs = ((here / f"one{name}.ome.zarr", here / f"many{name}.ome.zarr") for name in ("", ".scale"))
        same = all(contents(one) == contents(other) for one, other in pairs)
        left = [path.name for path in here.iterdir() if path.suffix in (".journal", ".unfinished")]
    lines = [f"image: {options.side} x {options.side}, tiles of 64 x 64, two results, two workers; {runs} runs in all"]
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
    from veriscope.restoring.job import TileTask
    from veriscope.restoring.journal import Journal

    count, lines = options.tasks, []
    dask = str(Path(sys.executable).with_name("dask"))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        where = Path(folder) / "scheduler.json"
        started = []
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")]))}
        place = ["--scheduler-file", str(where), "--host", "127.0.0.1", "--no-dashboard"]
        for words in (["scheduler", "--port", "0"], ["worker", "--nthreads", "8", "--no-nanny"]):
            one = subprocess.Popen([dask, *words, *place], env=environment, cwd=folder, stderr=subprocess.DEVNULL)
            stack.callback(one.wait)
            stack.callback(one.kill)
            started.append(psutil.Process(one.pid))
            while not where.exists():
                time.sleep(0.1)
        scheduler, me = started[0], psutil.Process()
        client = stack.enter_context(Client(scheduler_file=str(where), timeout=60))
        engine = Dask(client, vs.Image(np.zeros((2, 2)), "YX"), None)
        journal = Journal(Path(folder) / "journal", [Path(folder) / "out.ome.zarr"])
        journal.begin({})
        begun, used = time.perf_counter(), scheduler.cpu_times()
        before, mine = scheduler.memory_info().rss, me.memory_info().rss
        lines.append(f"at the start: scheduler {before / 1e6:.0f} MB, client {mine / 1e6:.0f} MB")
        for number, (task, done) in enumerate(engine.run(nothing, (TileTask(0, n) for n in range(count)), count), 1):
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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--memory", default="1.4GB")
    parser.add_argument("--work", default=str(Path(tempfile.gettempdir()) / "veriscope-scale"))
    parser.add_argument("--seconds", type=float, default=10**6, help="stop after so long; run again to continue")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--gap", type=float, default=15.0, help="seconds between kills, at most")
    parser.add_argument("--side", type=int, default=4096)
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
