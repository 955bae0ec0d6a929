"""Restore an image with workers that SLURM starts; run it again to continue.

python scale_slurm.py IMAGE MODEL OUT --jobs 16 --gpu
"""

import argparse

from dask.distributed import Client
from dask_jobqueue import SLURMCluster

import veriscope as vs
from veriscope.restoring.tofile import restore_to_file

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("image")
parser.add_argument("model")
parser.add_argument("out")
parser.add_argument("--jobs", type=int, default=4, help="workers, one a job")
parser.add_argument("--queue", help="the partition of SLURM")
parser.add_argument("--cores", type=int, default=8)
parser.add_argument("--memory", default="64GB", help="of a job")
parser.add_argument("--walltime", default="04:00:00")
parser.add_argument("--gpu", action="store_true", help="ask for a GPU for each job")

if __name__ == "__main__":
    options = parser.parse_args()
    extra = ["--gres=gpu:1"] if options.gpu else []
    with (
        SLURMCluster(
            queue=options.queue,
            cores=options.cores,
            processes=1,
            memory=options.memory,
            walltime=options.walltime,
            job_extra_directives=extra,
            job_script_prologue=["export MALLOC_ARENA_MAX=1"],  # memory of the networks is asked for once
        ) as cluster,
        Client(cluster) as client,
    ):
        cluster.scale(jobs=options.jobs)
        client.wait_for_workers(1)  # SLURM may take hours
        image = vs.read_image(options.image, lazy=True)
        print(restore_to_file(image, vs.load(options.model), options.out, cluster=client, resume=True))
