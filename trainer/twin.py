"""The torch.export twin of an artifact's module: insurance against TorchScript's removal."""

import io

import torch

from models.manifest import InputSpec
from trainer.export import ExportedModel

_LARGEST_BATCH = 1024


def export_twin(model: ExportedModel, spec: InputSpec) -> bytes:
    """Capture ``model`` as an exported program for any batch size and serialise it.

    Source: https://docs.pytorch.org/docs/stable/export.html

    Args:
        model: In eval mode, fp32, on the CPU.
        spec: Its input.

    Returns:
        What ``torch.export.load`` opens; it takes uint8 [b, 3, height, width] and gives logits,
        float32 [b, classes].
    """
    # Two photos: a size of 1 would be taken for a constant.
    example = torch.zeros(2, 3, spec.height, spec.width, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
    _forget_sources(program)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _forget_sources(program: torch.export.ExportedProgram) -> None:
    """Leave out where each operation stood in whose files: nobody needs it, and it is private."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
