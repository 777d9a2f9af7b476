"""Several processes that take requests, before one that computes.

``frames`` carry messages between them over a Unix socket, ``slots`` hold pixels in memory that
both see. A front has a ``link`` to the engine and ``remote`` answers; the engine has a ``port``
where fronts arrive. ``keeper`` starts processes and starts them again.
"""
