"""Options of how a job is done, and by whom."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lmfst.cli.convert import require_batch
from lmfst.cli.model_options import ModelOptions
from lmfst.cli.terminal import Terminal
from lmfst.ground.errors import UsageError

if TYPE_CHECKING:
    from lmfst.corpus.pool import MakePool

JOB = "Job"
"""Name of a panel."""
Engine = Literal["local", "ray"]


@dataclass(frozen=True)
class JobOptions:
    """How the job is done."""

    max_symbols: Annotated[
        int | None,
        typer.Option(
            "--max-symbols",
            metavar="N",
            min=1,
            help="Reject documents with more symbols of the target.",
            rich_help_panel=JOB,
        ),
    ] = None
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            metavar="N",
            help="Processes; each has its share of the processor's threads, and a GPU of its own "
            "where there are several.",
            rich_help_panel=JOB,
        ),
    ] = 1
    engine: Annotated[
        Engine,
        typer.Option(
            "--engine",
            help="Workers: processes of this machine, or actors of Ray, maybe on several machines "
            "(pip install lmfst[ray]).",
            rich_help_panel=JOB,
        ),
    ] = "local"
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT|auto",
            help="Ray: the cluster; auto: one that runs on this machine (default: one of this "
            "machine, started for the job).",
            show_default=False,
            rich_help_panel=JOB,
        ),
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            "--gpus-per-worker",
            metavar="G",
            help="Ray: GPUs, or the share of one, that each worker has (default: none).",
            show_default=False,
            rich_help_panel=JOB,
        ),
    ] = None
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going",
            help="Leave out a shard that has ended three workers, instead of ending the job.",
            rich_help_panel=JOB,
        ),
    ] = False
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 if records were rejected.", rich_help_panel=JOB),
    ] = False
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Give up what is done, and replace the output.", rich_help_panel=JOB
        ),
    ] = False
    log_json: Annotated[
        str | None,
        typer.Option(
            "--log-json",
            metavar="FILE",
            help="Add a line of JSON for each event.",
            rich_help_panel=JOB,
        ),
    ] = None


def require_job(batch: int, model: ModelOptions, job: JobOptions, written: list[Path]) -> None:
    """UsageError for numbers out of range, and for a log among the files that are written."""
    from lmfst.lm.spread import is_map

    require_batch(batch)
    if model.batch_tokens is not None and model.batch_tokens < 1:
        raise UsageError(f"--batch-tokens must be at least 1, not {model.batch_tokens}")
    if is_map(model.device) and job.workers > 1:
        raise UsageError(
            f"--workers {job.workers}: a model that is spread over all devices is there once",
            hint="leave --workers out, or take another --device",
        )
    log = job.log_json
    if log is not None and os.path.realpath(log) in map(str, written):
        raise UsageError(f"--log-json {log}: the job writes rows there", hint="name another file")


def placed(model: ModelOptions, job: JobOptions) -> ModelOptions:
    """The options with the device that workers are to use, where that is left to the machine: those
    of Ray have GPUs if they are given some, others if there are some here, and torch can use
    them."""
    from lmfst.corpus import may_have_gpu
    from lmfst.lm.devices import AUTO, chosen

    if model.device != AUTO:
        return model
    if job.engine == "ray":
        device = "cuda" if job.gpus_per_worker else "cpu"
    else:
        # Loading torch takes a second or two.
        device = chosen() if may_have_gpu(os.environ) else "cpu"
    return replace(model, device=device)


def gpus_of_workers(device: str) -> tuple[str, ...]:
    """The GPUs of which each worker sees one only; none where each sees all of them: a model that
    is spread has them all, and a GPU with a number is one of all."""
    from lmfst.corpus import visible_gpus
    from lmfst.lm.spread import is_map

    return () if is_map(device) or ":" in device else tuple(visible_gpus(os.environ))


def workers_of(model: ModelOptions, job: JobOptions, terminal: Terminal) -> MakePool:
    """What makes workers. UsageError for options that don't go together, and for an address that
    can't be one; InputError if Ray isn't installed, or nothing is at the address."""
    from lmfst.corpus import visible_gpus
    from lmfst.corpus.pool import local_workers
    from lmfst.lm.spread import is_map

    if job.engine == "local":
        given = {"--address": job.address, "--gpus-per-worker": job.gpus_per_worker}
        for name, value in given.items():
            if value is not None:
                raise UsageError(f"{name} is for workers of Ray", hint="give --engine ray, too")
        return local_workers
    from lmfst.corpus.ray_cluster import Cluster
    from lmfst.corpus.ray_pool import RayPool

    cluster = Cluster(job.address, job.gpus_per_worker or 0.0)
    cluster.require()
    if not cluster.gpus:
        if model.device.startswith("cuda"):
            raise UsageError(
                f"--device {model.device}: workers of Ray have no GPU unless they are given some",
                hint="give --gpus-per-worker",
            )
        if is_map(model.device) and visible_gpus(os.environ):
            terminal.warn(
                "this machine has GPUs, and workers of Ray have none without --gpus-per-worker"
            )
    return partial(RayPool, cluster)
