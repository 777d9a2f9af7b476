"""A load generator for classifiers: ``python -m client bench``.

::

    photos ──> load (closed or open loop) ──> Sender ──> server
                       └──> Tally: every request once ──> merged over processes ──> result

It knows the server by its address alone, and other servers through a ``Sender`` of theirs.
"""
