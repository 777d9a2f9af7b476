"""A library that AOTInductor compiled, called through its C interface.

torch's own loader holds the interpreter's lock while a batch runs, so that neither the event
loop nor another lane could go on; ctypes gives it up. The interface is declared stable:
torch/csrc/inductor/aoti_runtime/interface.h, which torch installs with its headers.
"""

import ctypes
import weakref
from pathlib import Path

import torch
from torch import Tensor

from server.errors import EngineError

_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class NativeModule:
    """A compiled module that takes images and gives features and logits, on the CPU.

    It is native code: load only files whose digest has been verified. Shapes are not checked
    by it: the caller gives what it was compiled for.

    Args:
        library: The shared library.
        runners: Calls that may run at the same time; more wait for one another.

    Raises:
        EngineError: It is no such library.
    """

    def __init__(self, library: Path, runners: int) -> None:
        try:
            self._library = ctypes.CDLL(str(library))
            create = self._library.AOTInductorModelContainerCreateWithDevice
            self._run = self._library.AOTInductorModelContainerRun
            delete = self._library.AOTInductorModelContainerDelete
        except (OSError, AttributeError) as error:
            raise EngineError(f"{library.name} is no compiled module: {error}") from error
        create.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_char_p]
        delete.argtypes = [ctypes.c_void_p]
        pointers, count = ctypes.c_void_p, ctypes.c_size_t
        self._run.argtypes = [
            ctypes.c_void_p, pointers, count, pointers, count, ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        self._container = ctypes.c_void_p()
        if create(ctypes.byref(self._container), runners, b"cpu", None) != 0:
            raise EngineError(f"{library.name} cannot be set up")
        # Not at exit, when lanes may still be computing.
        weakref.finalize(self, delete, self._container).atexit = False

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Run it on uint8 [b, 3, h, w]; other threads go on meanwhile.

        Returns:
            The last feature map, [b, c, h', w'], and logits, float32 [b, classes].

        Raises:
            EngineError: It failed.
        """
        # The library takes over the handles that go in; those that come out are ours.
        taken = torch._C._aoti.unsafe_alloc_void_ptr_from_tensor(images.contiguous())
        inputs = (ctypes.c_void_p * 1)(_capsule_pointer(taken, None))
        outputs = (ctypes.c_void_p * 2)()
        if self._run(self._container, inputs, 1, outputs, 2, None, None) != 0:
            raise EngineError("the compiled module failed")
        given = [_new_capsule(output, None, None) for output in outputs]
        features, logits = torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs(given)
        return features, logits
