#!/usr/bin/env python3
"""Checks ONNX files with onnx.checker and full shape inference, counts their nodes, and runs each in ONNX Runtime on
two texts side by side, whose outputs must be those of each text alone.

    scripts/check-onnx.py FILE...

Needs the packages onnx and onnxruntime: `scripts/setup-onnxruntime.sh --onnx`. Exit status 0 all files pass, 1 one
does not, 2 a package is missing.
"""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / ".runtimes" / "python"))

try:
    import numpy as np
    import onnx
    import onnxruntime
except ImportError as error:
    print(f"error: {error}; run `scripts/setup-onnxruntime.sh --onnx`", file=sys.stderr)
    sys.exit(2)

MAX_NODES = 400

# Sizes that files leave free.
BATCH, LENGTH = 2, 9

# Largest difference of an output, as a share of the largest value: products of another shape round otherwise.
MAX_DIFFERENCE = 1e-5


def nodes(graph):
    """Nodes of a graph, those of bodies included."""
    bodies = (a.g for n in graph.node for a in n.attribute if a.type == onnx.AttributeProto.GRAPH)
    return len(graph.node) + sum(map(nodes, bodies))


def check(path):
    """The count of nodes, or why the file is wrong."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    logits = inferred.graph.output[0].type.tensor_type
    config = {entry.key: entry.value for entry in model.metadata_props}
    if "itera.config" not in config or not model.graph.doc_string:
        raise ValueError("config or documentation is missing")
    if logits.elem_type != onnx.TensorProto.FLOAT or not logits.shape.dim[0].dim_param:
        raise ValueError("logits are not floats with a free batch")
    count = nodes(model.graph)
    if "sequence" in model.graph.name and count > MAX_NODES:
        raise ValueError(f"{count} nodes, expected at most {MAX_NODES}")
    return count


def batch_axis(value):
    """The axis of the batch of an input or output."""
    return value.shape.index("batch")


def draw(session):
    """Random tokens and states of two texts, by the names of the inputs."""
    random = np.random.default_rng(0)
    config = json.loads(session.get_modelmeta().custom_metadata_map["itera.config"])
    inputs = {}
    for value in session.get_inputs():
        free = {"batch": BATCH}
        shape = [size if isinstance(size, int) else free.get(size, LENGTH) for size in value.shape]
        if value.type == "tensor(float)":
            inputs[value.name] = random.normal(scale=0.1, size=shape).astype(np.float32)
        else:
            inputs[value.name] = random.integers(config["vocab_size"], size=shape)
    return inputs


def check_batch(path):
    """Fails unless two texts side by side give what each gives alone."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs, outputs = draw(session), session.get_outputs()
    axes = {value.name: batch_axis(value) for value in session.get_inputs()}
    together = session.run(None, inputs)
    for text in range(BATCH):
        alone = session.run(None, {name: np.take(x, [text], axes[name]) for name, x in inputs.items()})
        for output, both, one in zip(outputs, together, alone):
            difference = np.abs(np.take(both, [text], batch_axis(output)) - one).max()
            if not difference <= MAX_DIFFERENCE * np.abs(one).max():
                raise ValueError(f"{output.name} of text {text} differs by {difference} beside another text")


def main(paths):
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    failed = False
    for path in paths:
        try:
            count = check(path)
            check_batch(path)
            print(f"{Path(path).name}: passed, {count} nodes")
        except Exception as error:  # each library has its own kinds
            failed = True
            print(f"{Path(path).name}: FAILED: {error}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
