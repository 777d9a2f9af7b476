"""An artifact's torch.export twin, cast as the TorchScript engine casts, to shared libraries."""

from pathlib import Path

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram

from models.manifest import CHANNELS

ANY_SIZE = 0  # batches of any size; benchmarks compare what the server does with it
_LARGEST_BATCH = 1024  # of twins, as they are exported
_BODY = "body."
_to = torch.ops.aten.to.dtype
_assert_metadata = torch.ops.aten._assert_tensor_metadata.default


def cast_body(program: ExportedProgram, dtype: torch.dtype) -> fx.GraphModule:
    """The program with its ``body``, and all that the body computes, in ``dtype``.

    An exported graph has the dtypes of its export written into it, so casting the weights is
    not enough: what enters the body is cast too. What leaves it was cast by the body itself.

    Args:
        program: Takes uint8 [b, 3, h, w], gives logits, float32 [b, classes].
        dtype: bfloat16 or float32.
    """
    module: fx.GraphModule = program.module(check_guards=False)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if name.startswith(_BODY) and tensor.is_floating_point():
            _replace(module, name, tensor, dtype)
    inside: set[fx.Node] = set()
    for node in list(module.graph.nodes):
        if node.target is _assert_metadata:  # they assert the old dtype
            module.graph.erase_node(node)
        elif node.op == "get_attr" and str(node.target).startswith(_BODY):
            inside.add(node)
        elif node.op == "call_function" and inside.intersection(node.all_input_nodes):
            inside.add(node)
            _cast_inputs(node, inside, dtype)
    module.recompile()
    return module


def give_features(module: fx.GraphModule, shape: tuple[int, ...]) -> None:
    """Let the module give (features, logits) where it gave logits.

    A twin does not say where its features end: they are the last values of their shape. Whoever
    runs the result compares them with the scripted module's.

    Args:
        module: As :func:`cast_body` gives it; it is changed.
        shape: Of one image's features, [c, h', w'].

    Raises:
        ValueError: No value has that shape.
    """
    output = module.graph.output_node()
    for node in reversed(module.graph.nodes):
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and value.shape[1:] == shape:
            output.args = ((node, *output.args[0]),)  # type: ignore[misc]
            module.graph._codegen = fx.graph.CodeGen()  # its own would unpack a single output
            module.recompile()
            return
    raise ValueError(f"the twin computes nothing of shape {shape}")


def compile_library(
    module: fx.GraphModule, height: int, width: int, size: int, threads: int, library: Path
) -> None:
    """Compile ``module`` for batches of ``size``, or of any size.

    Source: https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html

    Args:
        module: As :func:`cast_body` gives it.
        height: Of its input, pixels.
        width: Of its input, pixels.
        size: Images in a batch, or `ANY_SIZE`.
        threads: Of the operations that inductor writes; the others' follow the caller's.
        library: The file to write.
    """
    # Two images: a size of 1 would be taken for a constant.
    example = torch.zeros(size or 2, CHANNELS, height, width, dtype=torch.uint8)
    dimensions = None if size else ({0: Dim("batch", min=1, max=_LARGEST_BATCH)},)
    options = {
        "freezing": True,  # folds batch norms and lays weights out for oneDNN
        "cpp.threads": threads,
        "compile_threads": 1,  # in this process, which has the right priority
        "aot_inductor.output_path": str(library),
    }
    with torch.no_grad():
        program = torch.export.export(module, (example,), dynamic_shapes=dimensions)
        torch._inductor.aot_compile(program.module(check_guards=False), (example,), options=options)


def _replace(module: nn.Module, name: str, tensor: torch.Tensor, dtype: torch.dtype) -> None:
    owner, _, attribute = name.rpartition(".")
    cast = tensor.detach().to(dtype)
    if isinstance(tensor, nn.Parameter):
        cast = nn.Parameter(cast, requires_grad=False)
    setattr(module.get_submodule(owner), attribute, cast)


def _cast_inputs(node: fx.Node, inside: set[fx.Node], dtype: torch.dtype) -> None:
    for source in node.all_input_nodes:
        value = source.meta.get("val")
        if source in inside or not isinstance(value, torch.Tensor):
            continue
        if value.is_floating_point():
            with node.graph.inserting_before(node):
                node.replace_input_with(source, node.graph.call_function(_to, (source, dtype)))
