"""int8 arithmetic: an artifact's twin with its convolutions and linear layers quantised.

Static quantisation after training: activations to uint8 with one scale for each tensor, weights
to int8 with one for each output channel (Krishnamoorthi, arXiv 1806.08342, sections 2 and 3). It
is written as pairs that quantise and restore (``torch.ops.quantized_decomposed``), which any
machine computes in floating point, and of which inductor makes oneDNN's integer kernels.

The trainer measures with this what the server computes.
"""

from collections.abc import Iterable, Mapping

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators below
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_aten = torch.ops.aten
_quantized = torch.ops.quantized_decomposed
REVISION = 1  # of what quantised() makes of the same ranges
_LAYERS = (_aten.conv2d.default, _aten.linear.default)
_LEAST_SCALE = 1e-8
_UINT8_MAX = 255
_INT8_MIN, _INT8_MAX = -128, 127

Ranges = Mapping[str, tuple[float, float]]


def activation_ranges(
    program: torch.export.ExportedProgram, batches: Iterable[Tensor]
) -> dict[str, tuple[float, float]]:
    """Where the inputs of the layers lie: the mean of the batches' least and largest values.

    Args:
        program: Takes uint8 [b, 3, h, w].
        batches: Ordinary images, at least one batch.

    Returns:
        By the name of the layer's weight; zero, with which convolutions pad, is within each range.
    """
    module = _folded(program)
    layers = _layers(module)
    watched = {layer.args[0] for layer in layers.values()}
    seen: dict[object, list[tuple[float, float]]] = {}

    class Watcher(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            value = super().run_node(n)
            if n in watched:
                seen.setdefault(n, []).append((float(value.min()), float(value.max())))
            return value

    with torch.no_grad():
        for images in batches:
            Watcher(module).run(images)
    ranges = {}
    for name, layer in layers.items():
        lows, highs = zip(*seen[layer.args[0]], strict=True)
        low, high = sum(lows) / len(lows), sum(highs) / len(highs)
        ranges[name] = (min(low, 0.0), max(high, 0.0))
    return ranges


def quantised(program: torch.export.ExportedProgram, ranges: Ranges) -> fx.GraphModule:
    """The program in int8.

    Args:
        program: Of which ``ranges`` are.
        ranges: As :func:`activation_ranges` gives them; a layer that is not named stays as it is.

    Returns:
        Takes and gives what the program's ``module()`` does.

    Raises:
        ValueError: A range is of no layer of the program, or is no range.
    """
    module = _folded(program)
    layers = _layers(module)
    unknown = ranges.keys() - layers.keys()
    if unknown:
        raise ValueError(f"the program has no layer {min(unknown)}")
    for number, (name, (low, high)) in enumerate(ranges.items()):
        if not low <= 0.0 <= high or high - low == float("inf"):
            raise ValueError(f"{name}: {low} to {high} is no range with zero in it")
        _quantise_input(module, layers[name], low, high)
        _quantise_weight(module, layers[name], f"int8_{number}")
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _layers(module: fx.GraphModule) -> dict[str, fx.Node]:
    """The layers that can be quantised, by the names of their weights.

    A weight that two layers share would need two names.
    """
    found: dict[str, fx.Node] = {}
    for node in module.graph.nodes:
        weight = node.args[1] if node.target in _LAYERS else None
        if isinstance(weight, fx.Node) and weight.op == "get_attr":
            found.setdefault(str(weight.target), node)
    return found


def _folded(program: torch.export.ExportedProgram) -> fx.GraphModule:
    """The program's module, its batch normalisations folded into the convolutions before them."""
    module: fx.GraphModule = program.module(check_guards=False)
    for norm in list(module.graph.nodes):
        convolution = norm.args[0] if norm.target is _aten.batch_norm.default else None
        if isinstance(convolution, fx.Node) and _can_be_folded(convolution, norm):
            _fold(module, convolution, norm)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _can_be_folded(convolution: fx.Node, norm: fx.Node) -> bool:
    """Whether the convolution is the norm's alone, and so is its weight."""
    if convolution.target is not _aten.conv2d.default or len(convolution.users) > 1:
        return False
    constants = [*convolution.args[1:3], *norm.args[1:5]]
    if not all(each is None or _is_constant(each) for each in constants):
        return False
    weight = _node(convolution.args[1])
    named = [
        user
        for node in weight.graph.nodes
        if node.op == "get_attr" and node.target == weight.target
        for user in node.users
    ]
    return len(named) == 1 and norm.args[3] is not None and norm.args[4] is not None


def _is_constant(argument: object) -> bool:
    return isinstance(argument, fx.Node) and argument.op == "get_attr"


def _fold(module: fx.GraphModule, convolution: fx.Node, norm: fx.Node) -> None:
    weight_name = str(_node(convolution.args[1]).target)
    old_bias = convolution.args[2] if len(convolution.args) > 2 else None  # noqa: PLR2004
    gamma, beta, mean, variance = (_tensor(module, argument) for argument in norm.args[1:5])
    epsilon = norm.args[7]
    before = _tensor(module, convolution.args[1])
    bias_before = _tensor(module, old_bias)
    if before is None or mean is None or variance is None or not isinstance(epsilon, float):
        return
    weight, bias = fuse_conv_bn_weights(before, bias_before, mean, variance, epsilon, gamma, beta)
    _set(module, weight_name, weight)
    bias_name = weight_name.replace(".", "_") + "_folded_bias"
    module.register_buffer(bias_name, bias.detach())
    with module.graph.inserting_before(convolution):
        held = module.graph.get_attr(bias_name)
    convolution.args = (*convolution.args[:2], held, *convolution.args[3:])
    norm.replace_all_uses_with(convolution)
    module.graph.erase_node(norm)


def _quantise_input(module: fx.GraphModule, layer: fx.Node, low: float, high: float) -> None:
    """Let the layer's input, and whatever else uses it, be what uint8 makes of it."""
    source = _node(layer.args[0])
    if source.target is _quantized.dequantize_per_tensor.default:
        return  # by another layer that takes it
    scale = max((high - low) / _UINT8_MAX, _LEAST_SCALE)
    zero = min(_UINT8_MAX, max(0, round(-low / scale)))
    how = (scale, zero, 0, _UINT8_MAX, torch.uint8)
    users = list(source.users)
    graph = module.graph
    with graph.inserting_after(source):
        held = graph.call_function(_quantized.quantize_per_tensor.default, (source, *how))
    with graph.inserting_after(held):
        restored = graph.call_function(_quantized.dequantize_per_tensor.default, (held, *how))
    for user in users:
        user.replace_input_with(source, restored)


def _quantise_weight(module: fx.GraphModule, layer: fx.Node, name: str) -> None:
    weight = _tensor(module, layer.args[1])
    if weight is None:
        raise TypeError("a layer without a weight")
    largest = weight.abs().amax(dim=tuple(range(1, weight.ndim)), keepdim=True)
    scales = largest.clamp_min(_LEAST_SCALE) / _INT8_MAX
    held = {
        "weight": torch.round(weight / scales).clamp(_INT8_MIN, _INT8_MAX).to(torch.int8),
        "scales": scales.flatten(),
        "zeros": torch.zeros(len(weight), dtype=torch.int64),
    }
    graph = module.graph
    with graph.inserting_before(layer):
        nodes = []
        for kind, tensor in held.items():
            module.register_buffer(f"{name}_{kind}", tensor)
            nodes.append(graph.get_attr(f"{name}_{kind}"))
        how = (0, _INT8_MIN, _INT8_MAX, torch.int8)
        restored = graph.call_function(_quantized.dequantize_per_channel.default, (*nodes, *how))
    layer.replace_input_with(_node(layer.args[1]), restored)


def _node(argument: object) -> fx.Node:
    if not isinstance(argument, fx.Node):
        raise TypeError(f"{argument} is no value of the graph")
    return argument


def _tensor(module: nn.Module, argument: object) -> Tensor | None:
    """The constant that an argument stands for."""
    if argument is None:
        return None
    owner, _, attribute = str(_node(argument).target).rpartition(".")
    tensor: Tensor = getattr(module.get_submodule(owner), attribute)
    return tensor.detach()


def _set(module: nn.Module, name: str, tensor: Tensor) -> None:
    owner, _, attribute = name.rpartition(".")
    setattr(
        module.get_submodule(owner), attribute, nn.Parameter(tensor.detach(), requires_grad=False)
    )
