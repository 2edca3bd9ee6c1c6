#!/usr/bin/env python3
"""Checks ONNX files with onnx.checker and full shape inference, and counts their nodes.

    scripts/check-onnx.py FILE...

Needs the package onnx: `scripts/setup-onnxruntime.sh --onnx`. Exit status 0 all files pass, 1 one does
not, 2 the package is missing.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / ".runtimes" / "python"))

try:
    import onnx
except ImportError as error:
    print(f"error: {error}; run `scripts/setup-onnxruntime.sh --onnx`", file=sys.stderr)
    sys.exit(2)

MAX_NODES = 400


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


def main(paths):
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    failed = False
    for path in paths:
        try:
            print(f"{Path(path).name}: passed, {check(path)} nodes")
        except Exception as error:  # each library has its own kinds
            failed = True
            print(f"{Path(path).name}: FAILED: {error}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
