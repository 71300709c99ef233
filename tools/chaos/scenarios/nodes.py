"""Nodes of a cluster die, and others join."""

from __future__ import annotations

import json
import os
import subprocess

import psutil

from tools.chaos.job import Job, command, kill_process
from tools.chaos.scenario import scenario
from tools.chaos.site import HOOKS, Site
from tools.local.cluster import Cluster, running_cluster

# Long enough for the death of the node to be the end of it.
HANG = {"point": "scorestream.wallets.core.pipeline:score_messages", "call": 2, "action": "hang"}
NODE_SECONDS = 240.0


@scenario(
    "a node of a cluster dies, and another joins",
    injected="kill -9 of a worker, its executor and their Python in the midst of a task, under "
    "load; then a new worker, and kill -9 of the other old one",
    expected="the other executor does the task again, later the new one all; the stream goes on",
)
def lost_and_replaced(site: Site) -> str:
    environment = {
        "CHAOS_INJECT": json.dumps([HANG]),
        "CHAOS_FOLDER": str(site.folder),
        "PYTHONPATH": f"{HOOKS}:{_python_path()}",
    }
    with running_cluster(site.folder / "cluster", environment=environment) as cluster:
        job = site.start(SPARK_MASTER=cluster.url, SPARK_LOCAL_IP="127.0.0.1")
        with site.load(rate=100):
            job.wait_for("a task at work", lambda: bool(site.faulted_processes()), NODE_SECONDS)
            first = _node_of(cluster, site.faulted_processes()[0])
            site.mark_fault()
            _kill_node(first)
            _wait_for_batches(site, job)
            cluster.add_worker()
            new = cluster.workers[-1]
            job.wait_for("its executor", lambda: _has_executor(new), NODE_SECONDS)
            [second] = [node for node in cluster.workers if node not in (first, new)]
            _kill_node(second)
            _wait_for_batches(site, job)
        site.catch_up(job)
        site.finish(job)
    site.check()
    return f"2 nodes died, {len(job.events('batch'))} batches in one run"


def _python_path() -> str:
    return os.environ.get("PYTHONPATH", "")


def _wait_for_batches(site: Site, job: Job) -> None:
    """Wait until all is done that is published now."""
    expected = site.published()
    job.wait_for("more batches", lambda: site.count_rows() >= expected, NODE_SECONDS)


def _node_of(cluster: Cluster, process: int) -> subprocess.Popen[bytes]:
    """The worker below which a process runs."""
    parents = {parent.pid for parent in psutil.Process(process).parents()}
    return next(worker for worker in cluster.workers if worker.pid in parents)


def _has_executor(worker: subprocess.Popen[bytes]) -> bool:
    return any("CoarseGrainedExecutorBackend" in command(p) for p in _below(worker))


def _below(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(worker.pid).children(recursive=True)


def _kill_node(worker: subprocess.Popen[bytes]) -> None:
    for each in _below(worker):
        kill_process(each)
    worker.kill()
    worker.wait()
