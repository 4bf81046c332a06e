"""What the standard of .onnx forbids: refused where it may mean two things, run where it means one.

docs/hostile-models.md has the list; onnx.checker and onnxruntime say what is forbidden.
"""

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare

pytest.importorskip("onnx", reason="the models of these tests are made with it")
pytest.importorskip("onnxruntime", reason="the answers are compared with its own")

# Where there is no onnx, the lines above skip this file; importing it first would fail.
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper, parser
from onnx_files import model, reference

NODES = "c = Conv(x, w, b) r = Relu(c) s = Add(r, c) f = Flatten(s) y = Gemm<transB=1>(f, g)"
SHAPE = (3, 4, 4)


def floats(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def more(nodes):
    """Return a change of a model: these nodes more."""
    graph = parser.parse_graph(f"graph (float[1] x) => (float[1] y) {{ {nodes} }}")
    return lambda model: model.graph.node.extend(graph.node)


def declared(where, text):
    """Return a change of a model: a value declared, such as ``float[2] b``."""
    value = parser.parse_graph(f"graph ({text}) => () {{}}").input
    return lambda model: getattr(model.graph, where).extend(value)


def constant(name, **fields):
    """Return a change of a model: fields of a constant, whose bytes are a list then."""

    def change(model):
        (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
        values = numpy_helper.to_array(tensor)
        if fields.get("data_location") == TensorProto.EXTERNAL:
            tensor.external_data.add(key="location", value="w.bin")
        if fields.pop("as_list", False):
            tensor.ClearField("raw_data")
            tensor.float_data.extend(values.ravel())
        tensor.MergeFrom(TensorProto(**fields))

    return change


def attribute(**fields):
    """Return a change of a model: fields of the attribute of the last node, an integer."""
    return lambda model: model.graph.node[-1].attribute[0].MergeFrom(AttributeProto(**fields))


def versions(*domains_and_versions):
    return lambda model: model.opset_import.extend(
        helper.make_opsetid(domain, version) for domain, version in domains_and_versions
    )


def named_twice(key):
    def change(model):
        constant("b", data_location=TensorProto.EXTERNAL)(model)
        model.graph.initializer[1].ClearField("raw_data")
        model.graph.initializer[1].external_data.add(key=key, value="w.bin")

    return change


def of_input(index, size):
    def change(model):
        model.graph.input[0].type.tensor_type.shape.dim[index].dim_value = size

    return change


BROKEN, UNKNOWN = lenet_cpp.BadModel, lenet_cpp.Unsupported
INT64 = TensorProto.INT64

REFUSED = {
    "two nodes of one output": (more("u = Relu(x) u = Sigmoid(x)"), BROKEN),
    "a node of one output twice": (more("u, u = Split<axis=1>(y)"), BROKEN),
    "a node that gives the input": (more("x = Relu(y)"), BROKEN),
    "a node that gives a constant": (more("w = Relu(y)"), BROKEN),
    "an output that nothing gives": (declared("output", "float[N, 5] z"), BROKEN),
    "another output that nothing gives": (declared("output", "int64[N, 5] z"), BROKEN),
    "an output without a name": (lambda m: m.graph.output.add(), BROKEN),
    "an input of no images": (of_input(0, 0), BROKEN),
    "an input without pixels": (of_input(2, 0), BROKEN),
    "two constants of one name": (
        lambda m: m.graph.initializer.append(numpy_helper.from_array(floats(2), "b")),
        BROKEN,
    ),
    "a constant of another shape as an input": (declared("input", "float[3] b"), BROKEN),
    "a constant of another type as an input": (declared("input", "int64[2] b"), BROKEN),
    "bytes and a list": (constant("b", float_data=[1, 2]), BROKEN),
    "bytes and a list of another type": (constant("b", uint64_data=[1, 2]), BROKEN),
    "bytes and texts": (constant("b", string_data=[b"a"]), BROKEN),
    "two lists": (constant("b", as_list=True, double_data=[1, 2]), BROKEN),
    "bytes here and in a file": (constant("b", data_location=TensorProto.EXTERNAL), BROKEN),
    "two files": (named_twice("location"), BROKEN),
    "an attribute of two values": (attribute(f=1), BROKEN),
    "an attribute of a value and a list": (attribute(ints=[1]), BROKEN),
    "an attribute of another type": (attribute(type=AttributeProto.FLOAT), BROKEN),
    "an attribute without a type": (attribute(type=AttributeProto.UNDEFINED), BROKEN),
    "an attribute twice": (
        lambda m: m.graph.node[-1].attribute.append(m.graph.node[-1].attribute[0]),
        BROKEN,
    ),
    "another type of a value": (declared("value_info", "int64[N, 2, 4, 4] r"), BROKEN),
    "no operator set": (lambda m: m.ClearField("opset_import"), UNKNOWN),
    "the operator set 0": (versions(("", 0)), BROKEN),
    "another version of com.microsoft": (versions(("com.microsoft", 2)), UNKNOWN),
    "a later IR": (lambda m: m.MergeFrom(ModelProto(ir_version=15)), UNKNOWN),
}

ACCEPTED = {
    "nodes that nothing needs": more("u = Nothing(x, nothing, b) v = Relu<a=1>(u, v) = Relu(x)"),
    "outputs that nothing reads": lambda m: m.graph.node[1].output.append("u"),
    "inputs left out at the end": lambda m: m.graph.node[1].input.extend([""] * 3),
    "nodes of one name": lambda m: [node.MergeFrom(NodeProto(name="n")) for node in m.graph.node],
    "ai.onnx by name": lambda m: m.graph.node[1].MergeFrom(NodeProto(domain="ai.onnx")),
    "an operator of a later set": more("p = Gelu(y) z = Mish(p)"),
    "wrong shapes of values": declared("value_info", "float[N, 2, 5, 5] r, float[3] b"),
    "an output without a shape": lambda m: m.graph.output[0].type.tensor_type.ClearField("shape"),
    "a constant without a name": lambda m: m.graph.initializer.append(
        numpy_helper.from_array(floats(2))
    ),
    "a constant twice among the inputs": declared("input", "float[2] b, float[2] b"),
    "no version of the IR": lambda m: m.ClearField("ir_version"),
    "an old IR": lambda m: m.MergeFrom(ModelProto(ir_version=1)),
    "no name of the graph": lambda m: m.graph.ClearField("name"),
    "metadata twice": lambda m: [m.metadata_props.add(key="k", value=v) for v in "ab"],
    "unknown versions of other domains": versions(("ai.onnx.ml", 99)),
    "a function twice": lambda m: m.functions.extend(
        [helper.make_function("my", "F", ["a"], ["b"], [], [])] * 2
    ),
}


def changed(folder, change):
    """Write a model that was right before the change; return it, images and the right answer."""
    tensors = {"w": floats(2, 3, 1, 1), "b": floats(2), "g": floats(5, 32)}
    path = folder / "model.onnx"
    path.write_bytes(model(NODES, "float[N,3,4,4] x", "float[N,5] y", tensors, opset=17))
    made = onnx.load(path)
    made.graph.name = "g"
    onnx.checker.check_model(made, full_check=True)
    before = reference(path, images := floats(2, *SHAPE))
    change(made)
    path.write_bytes(made.SerializeToString())
    (folder / "w.bin").write_bytes(floats(2).tobytes())
    return path, images, before


def is_forbidden(path, images):
    """Return whether onnx.checker or onnxruntime refuses a model, and what that gives."""
    answer, forbidden = None, False
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError):
        forbidden = True
    try:
        answer = reference(path, images)
    except Exception:  # noqa: BLE001  # onnxruntime's errors have no other base
        forbidden = True
    return forbidden, answer


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_standard_forbids_and_may_mean_two_things_is_refused(name, tmp_path):
    change, error = REFUSED[name]
    path, images, _ = changed(tmp_path, change)
    assert is_forbidden(path, images)[0]
    with pytest.raises(error):
        lenet_cpp.Predictor(path, engine="native")
    if error is BROKEN:
        with pytest.raises(error):
            lenet_cpp.Predictor(path)


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_forbidden_but_means_one_thing_runs(name, tmp_path):
    path, images, before = changed(tmp_path, ACCEPTED[name])
    forbidden, answer = is_forbidden(path, images)
    assert forbidden
    assert answer is None or compare(before, answer).agrees
    with lenet_cpp.Predictor(path) as predictor:
        assert predictor.options["engine"] == "native"
        assert compare(before, predictor.run(images)).agrees


def test_a_tensor_that_does_not_say_it_is_in_a_file(tmp_path):
    """onnx.proto: then its values are in the model, whatever else it has."""

    def change(model):
        model.graph.initializer[1].external_data.add(key="location", value="w.bin")

    path, images, before = changed(tmp_path, change)
    assert is_forbidden(path, images)[0] is False
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        assert compare(before, predictor.run(images)).agrees
