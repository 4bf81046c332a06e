"""Write the layers of a graph, which are nodes of ONNX, as ``tools.hostile.graph`` describes them.

The writer is that of onnx_networks.
"""

import numpy as np
from onnx import helper

from tools.hostile import graph


def write(writer, number, layer):
    """Write a layer, unless its value is an output of a node that is written."""
    if number in writer.written:
        return
    attributes = {k: v for k, v in layer.attributes.items() if k not in graph.NODES_ONLY}
    if layer.op == "Cast":
        attributes["to"] = writer.kind
    inputs = inputs_of(writer, number, layer)
    outputs = outputs_of(writer, number, layer)
    writer.nodes.append(helper.make_node(layer.op, inputs, outputs, **attributes))


def inputs_of(writer, number, layer):
    """Return the names of a node's inputs, of which the constants are written."""
    constants = layer.attributes.get("constants", {})
    given = iter([f"v{i}" for i in layer.inputs])
    drawn = layer.attributes.get("drawn", number)
    inputs = []
    for place in range(len(layer.inputs) + len(constants)):
        spec = constants.get(str(place))
        if spec is None:
            inputs.append(next(given))
        elif "expand" in spec:
            inputs.append(expanded(writer, spec, f"v{layer.inputs[0]}"))
        else:
            inputs.append(constant(writer, drawn, place, spec))
    if "rounded" in layer.attributes:
        inputs[:2] = rounded(writer, drawn, inputs[0], constants["1"], layer.attributes["rounded"])
    return inputs


def outputs_of(writer, number, layer):
    """Return the names of a node's outputs; other layers may take some of them."""
    take = layer.attributes.get("take", 0)
    outputs = [f"v{number}_{i}" for i in range(layer.attributes.get("outputs", 1))]
    outputs[take] = f"v{number}"
    if len(outputs) == 1:
        return outputs
    taken = {take}
    no_matter = {"take": 0, "drawn": 0}
    for other, each in enumerate(writer.network.layers, 1):
        same = {**each.attributes, **no_matter} == {**layer.attributes, **no_matter}
        take = each.attributes.get("take", 0)
        if same and each.op == layer.op and each.inputs == layer.inputs and take not in taken:
            outputs[take] = f"v{other}"
            taken.add(take)
            writer.written.add(other)
    return outputs


def constant(writer, drawn, place, spec):
    """Write a constant that a layer's attributes describe; return its name."""
    if "none" in spec:
        return ""
    if "shape" in spec:
        writer.owner = drawn
        numbers = {k: spec[k] for k in ("scale", "least") if k in spec}
        if "mask" not in spec:
            return writer.parameter(place, spec["shape"], **numbers)
        values = writer.network.values(drawn, place, spec["shape"])
        return writer.constant(np.where(values > 0.5, np.float32(spec["mask"]), np.float32(0)))
    return writer.constant(listed(writer, spec))


def listed(writer, spec):
    """Return the numbers of a constant; where the number of images is open it is -1."""
    batch = writer.network.options.get("batch", "N")
    return graph.listed(spec, batch, -1 if batch == "N" else None)


def expanded(writer, spec, first):
    """Write a constant that is repeated for the images of a value; return its name."""
    values, axis = listed(writer, spec), spec["expand"]
    parts = [writer.size([first], axis)]
    if axis:
        parts.insert(0, writer.integers(*values.shape[:axis]))
    if values.shape[axis + 1 :]:
        parts.append(writer.integers(*values.shape[axis + 1 :]))
    shape = writer.node("Concat", parts, axis=0)
    return writer.node("Expand", [writer.constant(values), shape])


def rounded(writer, drawn, x, weights, scale):
    """Round a product's input, by a scale, and its weights to int8; return the names of both."""
    numbers = {k: weights[k] for k in ("scale", "least") if k in weights}
    values = writer.network.values(drawn, 1, weights["shape"], **numbers)
    of_weights = np.float32(max(np.abs(values).max(initial=0), 1e-6) / 127)
    integers = np.round(values / of_weights).astype(np.int8)
    zero = writer.constant(np.int8(0))
    step = writer.constant(np.float32(scale))
    x = writer.node("QuantizeLinear", [x, step, zero])
    x = writer.node("DequantizeLinear", [x, step, zero])
    both = [writer.constant(integers), writer.constant(of_weights), zero]
    return x, writer.node("DequantizeLinear", both)
