"""Call a function on the machines of a cluster, of Ray or of Spark."""

import os
import shutil
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Any, TypeVar

from lenet_cpp._base.optional import require
from lenet_cpp.errors import BackendFailure, Unsupported

# Begins a call, and tells how many calls the cluster computes at a time.
_Cluster = tuple[Callable[[Any], futures.Future[Any]], Callable[[], int]]

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")

_ATTEMPTS = 3  # of a call whose process or machine is lost


def call_on(
    cluster: str,
    function: Callable[[_Argument], _Result],
    arguments: Sequence[_Argument],
    *,
    threads: int,
) -> Iterator[_Result]:
    """Yield the result of each argument, as soon as there is one.

    A call whose process or machine is lost is repeated elsewhere.

    Args:
        cluster: ``ray`` or ``spark``: the session that this process has begun, or else one on this
            machine alone, or for Spark what its configuration names; ``ray://HOST:PORT`` or
            ``spark://HOST:PORT``: that cluster.
        function: A function that can be pickled.
        arguments: Values that can be pickled.
        threads: Processors that a call needs.

    Raises:
        Unsupported: A package or Java is missing.
        BackendFailure: The cluster cannot be reached, or a call failed.
    """
    system, _, address = cluster.partition("://")
    begin = {"ray": _ray, "spark": _spark}[system]
    if address:  # Ray and Spark try for many minutes
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), 10).close()
        except (OSError, ValueError, OverflowError) as error:
            raise BackendFailure(f"there is no cluster at {address}: {error}") from error
    try:
        with begin(address, function, threads) as (submit, room):
            waiting, running = deque(arguments), set[futures.Future[_Result]]()
            while waiting or running:
                while waiting and len(running) < max(2, 2 * room() // threads):
                    running.add(submit(waiting.popleft()))
                ready, running = futures.wait(running, return_when=futures.FIRST_COMPLETED)
                for each in ready:
                    yield each.result()
    except Exception as error:
        if not type(error).__module__.startswith(("ray.", "pyspark.", "py4j.")):
            raise
        why = " ".join(str(error).split())[:500]  # of a page with the stacks of all processes
        raise BackendFailure(f"{system.capitalize()} failed: {why}") from error


@contextmanager
def _ray(address: str, function: Callable[[Any], Any], threads: int) -> Iterator[_Cluster]:
    require("ray", extra="ray")
    import ray

    begun = not ray.is_initialized()
    if begun:
        ray.init(address=address or "local", include_dashboard=None if address else False)
    try:
        remote = ray.remote(num_cpus=threads, max_retries=_ATTEMPTS, scheduling_strategy="SPREAD")
        task = remote(lambda call, argument: call(argument))
        shared = ray.put(function)
        yield (
            lambda argument: task.remote(shared, argument).future(),
            lambda: int(ray.cluster_resources().get("CPU", 1)),
        )
    finally:
        if begun:
            ray.shutdown()


@contextmanager
def _spark(address: str, function: Callable[[Any], Any], threads: int) -> Iterator[_Cluster]:
    require("pyspark", extra="spark")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise Unsupported("Spark needs Java: apt-get install default-jre-headless")
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else its workers take any Python
    begun = SparkSession.getActiveSession() is None
    builder = SparkSession.builder.appName("lenet-cpp predict")
    if begun:
        builder = builder.config("spark.task.cpus", threads)
        builder = builder.config("spark.ui.showConsoleProgress", False)
    if address:
        builder = builder.master(f"spark://{address}")
    session = builder.getOrCreate()
    context = session.sparkContext
    # A job for each call, of as many threads as calls run: a result is known when it is there.
    pool = futures.ThreadPoolExecutor(1024)
    try:
        yield (
            lambda argument: pool.submit(
                lambda: context.parallelize([argument], 1).map(function).collect()[0]
            ),
            lambda: context.defaultParallelism,
        )
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        if begun:
            context.setLogLevel("OFF")  # of jobs that are ended it prints pages
            session.stop()
