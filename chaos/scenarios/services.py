"""The services beside the broker are away."""

from __future__ import annotations

from pymongo import MongoClient

from chaos.job import Job
from chaos.scenario import Skipped, scenario
from chaos.site import Site
from mongo_server import NO_GO, has_go, own_server
from scorestream.local.broker import HOST, free_port
from scorestream.reference import load_conf_reference
from scorestream.settings import PROJECT_ROOT


@scenario(
    "MongoDB is away at the first start",
    injected="nothing listens at MONGODB_URL, and the warehouse holds no copy of its data",
    expected="exit code 1 with a message, before anything is read; a start without it goes on",
)
def mongodb_away(site: Site) -> str:
    site.publish(20)
    job = site.start("--available-now", MONGODB_URL=f"mongodb://{HOST}:{free_port()}/")
    line = site.refused(job, 1, "ReferenceDataUnavailable", "MONGODB_URL")
    assert site.stored() == 0
    site.drain()
    site.check()
    return line


@scenario(
    "MongoDB dies, and stays away",
    injected="its server is stopped while the job runs; then the job is started again",
    expected="the job goes on; the next start takes the last copy in Delta, with a warning",
)
def mongodb_dies(site: Site) -> str:
    if not has_go():
        raise Skipped(NO_GO)
    with own_server() as url:
        _fill(url)
        site.publish(20)
        job = site.start(MONGODB_URL=url)
        site.catch_up(job)
    site.faulted()
    site.publish(20)
    site.catch_up(job)
    site.finish(job)
    site.publish(20)
    again = site.start("--available-now", MONGODB_URL=url)
    assert again.wait() == 0, again.output[-4000:]
    site.check()
    return _warning(again)


def _fill(url: str) -> None:
    """Put the reference data of `conf/` into the database, by the names of the settings."""
    reference = load_conf_reference(PROJECT_ROOT / "conf")
    with MongoClient[dict[str, object]](url) as client:
        database = client["scorestream"]
        database["tokens"].insert_many([token.model_dump() for token in reference.tokens])
        thresholds = [threshold.model_dump() for threshold in reference.thresholds]
        database["protocol-thresholds-percentiles"].insert_many(thresholds)


def _warning(job: Job) -> str:
    [warning] = job.events("reference_data_from_last_copy")
    return f"{warning['event']}: {str(warning['reason']).partition(':')[0]} …"
