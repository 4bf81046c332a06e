"""One child process for the calls of a module that has one for each (_base/worker.py)."""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from lenet_cpp._base.worker_main import load_function


def ignore(*_):
    """Receive a report of progress."""


@contextmanager
def one_child(module, variables):
    """Do what the module calls with these variables in one process: Paddle takes long to import."""
    expected = variables
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**variables, "GLOG_minloglevel": "3"}.items():
            patch.setenv(name, value)
        pool.submit(ignore).result()

    def call(function, arguments, *, doing, variables):
        assert variables == expected
        done = pool.submit(load_function(function), **arguments, report=ignore)
        return SimpleNamespace(result=json.loads(json.dumps(done.result())))

    with pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "call", call)
        yield
