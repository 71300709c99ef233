"""The broker dies, pauses or is hard to reach; topics are removed, recreated or cut short."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from confluent_kafka import TopicPartition
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewPartitions

from scorestream.infra.kafka import producer
from tools.chaos.job import Job
from tools.chaos.load import messages
from tools.chaos.proxy import Weather
from tools.chaos.scenario import scenario
from tools.chaos.site import Site
from tools.testkit.installation import wait_until

FAULT_SECONDS = 6
BEFORE_PUBLISHING = {"point": "scorestream.infra.kafka.producer:produce", "action": "stop"}
ANSWER_SECONDS = 15.0


@scenario(
    "the broker is killed, then it hangs",
    injected=f"kill -9 and a start; SIGSTOP for {FAULT_SECONDS} s; both under load",
    expected="the job goes on by itself",
)
def killed_and_paused(site: Site) -> str:
    with site.load():
        job = site.start()
        job.wait_for_batch()
        process = _process(site)
        process.kill()
        process.wait(ANSWER_SECONDS)
        site.mark_fault()
        site.broker.start()
        site.catch_up(job)
        killed = site.recovery_seconds
        with _pause_process(_process(site)):
            job.linger(FAULT_SECONDS)
        site.mark_fault()
    site.catch_up(job)
    site.finish(job)
    site.check()
    return f"caught up {killed:.0f} s after the kill, {site.recovery_seconds:.0f} s after the pause"


@scenario(
    "the network to the broker is bad",
    injected=f"{FAULT_SECONDS} s each of 50 ms delay at 200 kB/s, of all connections cut once a "
    "second, and of silence; under load",
    expected="the job goes on by itself",
)
def bad_network(site: Site) -> str:
    with site.load():
        job = site.start(proxied=True)
        job.wait_for_batch()
        site.proxy.weather = Weather(delay=0.05, rate=200_000)
        job.linger(FAULT_SECONDS)
        site.proxy.pass_through()
        cut = 0
        for _ in range(FAULT_SECONDS):
            cut += site.proxy.cut()
            job.linger(1)
        site.proxy.weather = Weather(swallow=True)
        job.linger(FAULT_SECONDS)
        # What was swallowed never comes: these connections are of no use any more.
        site.proxy.cut()
        site.proxy.pass_through()
        site.mark_fault()
    site.catch_up(job)
    site.finish(job)
    site.check()
    assert cut, "there was no connection to cut"
    return f"{cut} connections were cut"


@scenario(
    "the broker is away for longer than results may wait",
    injected="before a batch is published, connections are refused; at the next start, silence",
    expected="exit code 1 with one message, each time; the next start publishes the batch",
)
def away_too_long(site: Site) -> str:
    site.publish(40)
    for start, weather in enumerate((Weather(refuse=True), Weather(swallow=True))):
        job = site.start(
            inject=[BEFORE_PUBLISHING | {"id": start}],
            proxied=True,
            KAFKA_DELIVERY_TIMEOUT_MS="1000",
        )
        worker = job.wait_for_stopped_worker()
        site.proxy.weather = weather
        site.proxy.cut()
        worker.send_signal(signal.SIGCONT)
        line = site.wait_for_refusal(job, 1, "KafkaError", "KAFKA_DELIVERY_TIMEOUT_MS")
        site.proxy.cut()
        site.proxy.pass_through()
        site.publish(20)
    site.mark_fault()
    site.drain(proxied=True)
    site.check()
    return line


@scenario(
    "the input topic is deleted while the job runs",
    injected="the topic is deleted",
    expected="exit code 3 with a message",
)
def input_deleted(site: Site) -> str:
    job = _start_caught_up(site)
    site.installation.known_offsets = site.installation.offsets()
    site.installation.delete_topic(site.installation.input_topic)
    line = site.wait_for_refusal(job, 3, "LostOffsetsError", "deleted")
    site.check()
    return line


@scenario(
    "the input topic is recreated between two batches, and has grown past the old offsets",
    injected="the driver's JVM is stopped; the topic is deleted, made anew and filled",
    expected="exit code 3 with a message; nothing of the new topic is taken for the old one's",
    quick=True,
)
def input_recreated(site: Site) -> str:
    job = _start_caught_up(site)
    topic = site.installation.input_topic
    old = site.installation.cluster.end_offsets(topic)
    site.installation.known_offsets = site.installation.offsets()
    with _pause_process(job.jvm()):
        site.installation.delete_topic(topic)
        _new_producer()
        site.publish(300)
        new = site.installation.cluster.end_offsets(topic)
        assert all(new[p] > end for p, end in old.items()), (old, new)
    line = site.wait_for_refusal(job, 3, "CheckpointError", "was recreated")
    site.check()
    return line


@scenario(
    "the success topic is deleted while the job runs",
    injected="the topic is deleted, after its messages were read",
    expected="exit code 1 with a message; the next start makes the topic and publishes the batch",
)
def success_deleted(site: Site) -> str:
    job = _start_caught_up(site)
    topic = site.installation.settings.kafka_success_topic
    site.installation.removed_messages[topic] = site.installation.messages(topic)
    site.installation.delete_topic(topic)
    # As others publish, who make no topics.
    site.installation.cluster.produce(site.installation.input_topic, messages(site.chance, 40))
    line = site.wait_for_refusal(job, 1, "KafkaError", topic, "deleted")
    site.mark_fault()
    site.drain()
    site.check()
    return line


@scenario(
    "records age out before they were processed",
    injected="DeleteRecords beyond the processed offsets of all partitions: while the driver's JVM "
    "is stopped, and while the job is down",
    expected="exit code 3 with a message each time; a new --checkpoint with --reprocess scores "
    "what is left",
)
def aged_out(site: Site) -> str:
    job = _start_caught_up(site)
    with _pause_process(job.jvm()):
        removed = _age_out(site)
    line = site.wait_for_refusal(job, 3, "LostOffsetsError", "nothing was skipped")
    new = ("--checkpoint", str(site.folder / "second"))
    site.drain(*new, "--reprocess")
    site.check()
    removed += _age_out(site)
    site.wait_for_refusal(site.start("--available-now", *new), 3, "LostOffsetsError")
    site.mark_fault()
    site.drain("--checkpoint", str(site.folder / "third"), "--reprocess")
    site.check()
    return f"{removed} messages are lost to the stream, none that was left; {line}"


@scenario(
    "results are larger than the success topic takes",
    injected="max.message.bytes of the topic: first less than a batch, then less than a message",
    expected="messages go one by one; then exit code 3 with a message, until the limit is raised",
)
def too_large(site: Site) -> str:
    topic = site.installation.settings.kafka_success_topic
    _limit(site, topic, 5_000)
    job = _start_caught_up(site, 60)
    _limit(site, topic, 300)
    site.publish(40)
    line = site.wait_for_refusal(job, 3, "TooLargeError", "max.message.bytes")
    _limit(site, topic, 1_048_588)
    site.mark_fault()
    site.drain()
    site.check()
    return line


@scenario(
    "the input topic gets more partitions",
    injected="from 4 to 8 while the job runs",
    expected="the new ones are read from their first offset on",
)
def partitions_added(site: Site) -> str:
    job = _start_caught_up(site)
    topic, admin = site.installation.input_topic, site.admin
    admin.create_partitions([NewPartitions(topic, 8)])[topic].result(ANSWER_SECONDS)
    ends = site.installation.cluster.end_offsets
    wait_until(lambda: len(ends(topic)) == 8)
    _new_producer()
    site.mark_fault()
    site.publish(100)
    site.catch_up(job)
    site.finish(job)
    site.check()
    return f"end offsets {ends(topic)}"


def _start_caught_up(site: Site, count: int = 40) -> Job:
    """A job that has delivered so many messages, and waits for more."""
    site.publish(count)
    job = site.start()
    site.catch_up(job)
    return job


def _process(site: Site) -> psutil.Process:
    pid = site.broker.pid
    assert pid is not None, "the broker does not run"
    return psutil.Process(pid)


@contextmanager
def _pause_process(process: psutil.Process) -> Iterator[None]:
    """Keep a process from running meanwhile."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def _new_producer() -> None:
    """Have the load's producer ask anew which partitions there are."""
    producer._producer.cache_clear()


def _age_out(site: Site) -> int:
    """Publish, and delete a few of the new records of each partition; how many."""
    installation, topic = site.installation, site.installation.input_topic
    processed = installation.cluster.end_offsets(topic)
    stored = installation.offsets()
    site.publish(80)
    ends = installation.cluster.end_offsets(topic)
    firsts = {p: (end + ends[p]) // 2 for p, end in processed.items()}
    requests = [TopicPartition(topic, p, first) for p, first in firsts.items()]
    for future in site.admin.delete_records(requests).values():
        future.result(ANSWER_SECONDS)
    installation.known_offsets = stored | {(p, o) for p in ends for o in range(firsts[p], ends[p])}
    return sum(firsts[p] - end for p, end in processed.items())


def _limit(site: Site, topic: str, size: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in site.admin.incremental_alter_configs([resource]).values():
        future.result(ANSWER_SECONDS)
