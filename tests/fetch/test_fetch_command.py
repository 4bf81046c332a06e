"""The command line of scripts/fetch_paddle_inference.py."""

import pytest
from paddle_archives import NOT_FOUND, USAGE, tgz


@pytest.mark.parametrize(
    "arguments",
    [
        "--source official",
        "--sha256 " + "0" * 64,
        "--source official --version ../../x",
        "--source official --version 3.0.0 --sha256 abc",
        "--source official --version 3.0.0 --max-size -1",
        "--source official --url ftp://127.0.0.1/x.tgz",
        "--source official --url http://user:secret@127.0.0.1/x.tgz",
        "--archive x.tgz --url http://127.0.0.1/x.tgz",
    ],
)
def test_wrong_usage(clone, arguments):
    assert clone.run(*arguments.split()) == USAGE
    assert clone.leftovers() == []


def test_addresses(clone, tmp_path):
    host, name = "https://paddle-inference-lib.bj.bcebos.com/", "paddle_inference.tgz"
    published_url = clone.module("official").published_url
    assert published_url("2.0.0") == f"{host}2.0.0-cpu-avx-mkl/{name}"
    assert published_url("3.0.0") == f"{host}3.0.0/cxx_c/Linux/CPU/gcc8.2_avx_mkl/{name}"
    archive = tmp_path / "with space.tgz"
    archive.write_bytes(tgz())
    assert clone.run("--source", "official", "--url", archive.as_uri()) == 0
    assert clone.run("--source", "official", "--url", "file:///none.tgz") == NOT_FOUND
