"""The processes of a run: one, or as many as torchrun started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        world: How many there are, on all hosts.
        local: How many there are on this host.
        rank: Which one this is; 0 writes the run's folder.
    """

    world: int
    local: int
    rank: int

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    @property
    def nodes(self) -> int:
        """How many hosts there are."""
        return self.world // self.local

    def share(self, text: str) -> str:
        """The first process's ``text``, in all of them."""
        if self.world == 1:
            return text
        box: list[object] = [text]
        distributed.broadcast_object_list(box, src=0)
        return str(box[0])

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """The first process runs the block, then the others: they find what it cached."""
        if self.world > 1 and not self.first:
            distributed.barrier()
        yield
        if self.world > 1 and self.first:
            distributed.barrier()


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the process group that torchrun's variables describe, if there are any.

    Source: https://docs.pytorch.org/docs/stable/elastic/run.html
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes(1, 1, 0)
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Processes(world, int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["RANK"]))
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
