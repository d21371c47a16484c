"""Bundles with randomised weights: the sanity check of Adebayo et al. 2018 (1810.03292).

A map that hardly changes when the weights are taken from the net explains the file, not the net.
"""

from __future__ import annotations

import msgspec
import numpy as np

from maltriage.bundle import Bundle

SMALLEST = 8
"""Fewest numbers in a tensor of weights; smaller tensors are constants of the graph, such as the
largest value of a byte."""


def randomised(bundle: Bundle, seed: int) -> Bundle:
    """The bundle with the numbers of each weight tensor shuffled.

    So each layer keeps its scale and valid values. The bundle is run but never written: its
    digest does not match its card.
    """
    import onnx
    from onnx import numpy_helper

    kinds = onnx.TensorProto
    weights = (kinds.FLOAT, kinds.INT8, kinds.UINT8, kinds.INT32)  # of a net in int8, too
    generator = np.random.default_rng(seed)
    model = onnx.load_model_from_string(bundle.model)
    for tensor in model.graph.initializer:
        if tensor.data_type not in weights or np.prod(tensor.dims) < SMALLEST:
            continue
        values = numpy_helper.to_array(tensor)
        shuffled = generator.permutation(values.ravel()).reshape(values.shape)
        tensor.CopyFrom(numpy_helper.from_array(shuffled, tensor.name))
    return msgspec.structs.replace(bundle, model=model.SerializeToString())
