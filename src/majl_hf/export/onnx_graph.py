"""A graph of ONNX operators, written down as the calls of a program."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 18  # of onnxruntime 1.14 and later, and of onnxruntime-web
IR_VERSION = 9

WEIGHTS = ("float32", "float16", "int8")  # in which large arrays can be stored
LEAST_HALVED = 1024  # values, from which an array is stored in float16 if weights are
# Values from which a layer is stored in int8. Smaller ones are a twentieth of the weights but, as the first and the
# last layer are among them, the origin of most of the error.
LEAST_ROUNDED = 2**18
# Operator and place of an operand -> the axis of the output channels, if the operand is a layer's weights.
CHANNEL_AXES = {("Conv", 1): 0, ("MatMul", 1): 1}
Operand = "str | np.ndarray | float | int | Sequence[int]"


class Graph:
    """Operators as methods: `graph.Conv(hidden, weight, bias, strides=[2, 2])` adds a node and returns the name of its
    output. Operands are names, float arrays (weights, constants), floats, or integers, which become int64 vectors as
    shapes and axes are; a named argument is an attribute of the node. `num_outputs=2` of Split
    returns two names.

    Args:
        weights: One of `WEIGHTS`, in which large arrays are stored, but for those given as `exact`. With "int8", large
            layers are, with a scale for each output channel, and "float16" is for the other arrays. The arithmetic
            stays in float32: runtimes convert the arrays once, when they load the graph.
    """

    def __init__(self, weights: str = "float32"):
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[tuple, str] = {}
        self.tensors: list[onnx.TensorProto] = []
        self.num_names = 0

    def __getattr__(self, operator: str):
        if not operator[0].isupper():
            raise AttributeError(operator)

        def add(*operands, num_outputs: int = 1, **attributes):
            names = [self._operand(value, CHANNEL_AXES.get((operator, place))) for place, value in enumerate(operands)]
            if operator == "Split":
                attributes["num_outputs"] = num_outputs
            outputs = [self._new_name(operator) for _ in range(num_outputs)]
            self.nodes.append(helper.make_node(operator, names, outputs, name=outputs[0], **attributes))
            return outputs[0] if num_outputs == 1 else outputs

        return add

    def size(self, value: str, axis: int) -> str:
        """The length of an axis, as an int64 vector of one element."""
        return self.Shape(value, start=axis, end=axis + 1)

    def exact(self, array: np.ndarray) -> str:
        """An array that stays in float32."""
        return self._constant(array.astype(np.float32))

    def vector(self, *elements) -> str:
        """Integers and vectors of integers in one vector, such as a shape."""
        if all(isinstance(element, int) for element in elements):
            return self._operand(list(elements))
        return self.Concat(*elements, axis=0)

    def model(
        self, inputs: dict[str, Sequence], outputs: dict[str, Sequence], names: dict[str, str]
    ) -> onnx.ModelProto:
        """The finished model, all of float32.

        Args:
            inputs, outputs: Their shapes; a text names an axis of any length.
            names: The value that each output is.
        """
        nodes = [*self.nodes, *(helper.make_node("Identity", [names[name]], [name]) for name in outputs)]

        def described(shapes):
            return [
                helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape))
                for name, shape in shapes.items()
            ]

        graph = helper.make_graph(nodes, "majl", described(inputs), described(outputs), self.tensors)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="majl_hf",
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _operand(self, operand: Operand, channel_axis: int | None = None) -> str:
        if isinstance(operand, str):
            return operand
        if isinstance(operand, int):
            operand = [operand]
        if isinstance(operand, (list, tuple)):
            return self._constant(np.asarray(operand, dtype=np.int64))
        array = np.asarray(operand, dtype=np.float32)
        if self.weights == "int8" and channel_axis is not None and array.size >= LEAST_ROUNDED:
            return self._constant(array, "int8", channel_axis)
        return self._constant(array, "float32" if array.size < LEAST_HALVED or self.weights == "float32" else "float16")

    def _constant(self, array: np.ndarray, stored: str = "float32", channel_axis: int = 0) -> str:
        """An array, the same only once, stored in a type of `WEIGHTS`; one of integers as it is."""
        key = (array.dtype.str, array.shape, array.tobytes(), stored, channel_axis)
        if key not in self.constants:
            if stored == "int8":
                self.constants[key] = self._scaled(array, channel_axis)
            elif stored == "float16":
                self.constants[key] = self._cast(array.astype(np.float16))
            else:
                self.constants[key] = self._tensor(array)
        return self.constants[key]

    def _scaled(self, array: np.ndarray, channel_axis: int) -> str:
        """An array in int8 times a scale for each place on an axis. DequantizeLinear is the same, but onnxruntime
        would compute it in every call, unless told otherwise, and convolve more slowly with the result."""
        others = tuple(axis for axis in range(array.ndim) if axis != channel_axis)
        scale = np.abs(array).max(axis=others, keepdims=True) / 127
        whole = np.rint(array / np.where(scale > 0, scale, 1)).astype(np.int8)
        return self.Mul(self._cast(whole), self._tensor(scale))

    def _cast(self, array: np.ndarray) -> str:
        return self.Cast(self._tensor(array), to=onnx.TensorProto.FLOAT)

    def _tensor(self, array: np.ndarray) -> str:
        name = self._new_name("constant")
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def _new_name(self, operator: str) -> str:
        self.num_names += 1
        return f"{operator}_{self.num_names}"
