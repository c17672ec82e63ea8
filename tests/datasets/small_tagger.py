"""A WD14 tagger of four tags, made on the spot: of any picture that is not black it says `red hat` and `outdoors`."""

import numpy as np
import pytest


def make_tagger(folder):
    """Write `model.onnx` and `selected_tags.csv` into a folder; skips where the packages to run them are missing."""
    onnx = pytest.importorskip(
        "onnx", reason="the package onnx is not installed (make test does): no tagger can be made"
    )
    pytest.importorskip(
        "onnxruntime",
        reason="the package onnxruntime is not installed (make test does): no tagger can be run",
    )
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.array([[0.0, 9.0, -9.0, 9.0]] * 3, np.float32) / 255, "weights")
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["picture"], ["chw"], perm=[0, 3, 1, 2]),
            helper.make_node("GlobalAveragePool", ["chw"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["scores"]),
        ],
        "tagger",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 64, 64, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 4])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    table = "tag_id,name,category,count\n1,general,9,1\n2,red_hat,0,1\n3,never,0,1\n4,outdoors,0,1\n"
    (folder / "selected_tags.csv").write_text(table, encoding="utf-8")
    return folder
