"""A graph of ONNX operators, written down as the calls of a program."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 18  # of onnxruntime 1.14 and later, and of onnxruntime-web
IR_VERSION = 9

LEAST_HALVED = 1024  # values, from which an array is stored in float16
Operand = "str | np.ndarray | float | int | Sequence[int]"


class Graph:
    """Operators as methods: `graph.Conv(hidden, weight, bias, strides=[2, 2])` adds a node and returns the name of its
    output. Operands are names, float arrays (weights, constants), floats, or integers, which become int64 vectors as
    shapes and axes are; a named argument is an attribute of the node. `num_outputs=2` of Split
    returns two names.

    Args:
        half: Store large arrays in float16, but for those given as `exact`. The arithmetic stays in float32: runtimes
            convert the arrays once, when they load the graph.
    """

    def __init__(self, half: bool = False):
        self.half = half
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[tuple, str] = {}
        self.tensors: list[onnx.TensorProto] = []
        self.num_names = 0

    def __getattr__(self, operator: str):
        if not operator[0].isupper():
            raise AttributeError(operator)

        def add(*operands, num_outputs: int = 1, **attributes):
            names = [self._operand(operand) for operand in operands]
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

    def _operand(self, operand: Operand) -> str:
        if isinstance(operand, str):
            return operand
        if isinstance(operand, int):
            operand = [operand]
        is_integer = isinstance(operand, (list, tuple))
        array = np.asarray(operand, dtype=np.int64 if is_integer else np.float32)
        if self.half and not is_integer and array.size >= LEAST_HALVED:
            return self._constant(array.astype(np.float16))
        return self._constant(array)

    def _constant(self, array: np.ndarray) -> str:
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            name = self._new_name("constant")
            self.tensors.append(numpy_helper.from_array(array, name))
            self.constants[key] = self.Cast(name, to=onnx.TensorProto.FLOAT) if array.dtype == np.float16 else name
        return self.constants[key]

    def _new_name(self, operator: str) -> str:
        self.num_names += 1
        return f"{operator}_{self.num_names}"
