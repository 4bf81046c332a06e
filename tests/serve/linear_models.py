"""Classifiers that multiply the values of an image by weights, and what the programs give."""

import base64
import json

import numpy as np
import onnx
from onnx import helper, numpy_helper

CLASSES = 5


def save_onnx(path, shape, weights, dtype="float32", producer=""):
    """Write a classifier that multiplies the values of an image by weights."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    make = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Flatten", ["f"], ["v"]),
        helper.make_node("MatMul", ["v", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [make("x", kind, ["N", *shape])],
        [make("y", onnx.TensorProto.FLOAT, ["N", weights.shape[1]])],
        [numpy_helper.from_array(weights, "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name=producer)
    path.write_bytes(model.SerializeToString())


def weights_of(shape):
    """Return weights [values of an image, classes]."""
    random = np.random.default_rng(3)
    size = int(np.prod(shape))
    return (random.standard_normal((size, CLASSES)) / size**0.5).astype(np.float32)


def of_classify(run_program, root, program, picture, *flags):
    """Return the scores of lenet_classify, and what it writes on standard error."""
    done = run_program(
        f"--model_file={program}",
        "--format=json",
        "--topk=5",
        "--softmax=false",
        *flags,
        picture,
        program=root / "build" / "lenet_classify",
    )
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    named = {each["class_id"]: each["probability"] for each in result["predictions"]}
    return [named[number] for number in range(CLASSES)], done.stderr


def of_server(run_server, serve_program, program, picture, folder, *flags):
    """Return the scores of lenet_serve, and its log."""
    log = folder / "log.txt"
    command = (serve_program, program, "--port=0", *flags)
    with log.open("w") as out, run_server(*command, stderr=out) as server:
        name = json.loads(server.ask("POST", "/v2/repository/index")[2])[0]["name"]
        tensor = {"name": "x", "datatype": "BYTES", "shape": [1]}
        tensor["data"] = [base64.b64encode(picture.read_bytes()).decode()]
        status, _, body = server.ask(
            "POST", f"/v2/models/{name}/infer", json.dumps({"inputs": [tensor]})
        )
    assert status == 200, body
    return json.loads(body)["outputs"][0]["data"], log.read_text()
