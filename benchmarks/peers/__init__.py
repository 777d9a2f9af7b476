"""Other servers of the same model, each in a virtual environment of its own.

    python -m benchmarks.peers setup all      # or one by name; list shows them

A folder holds a peer's server and its pinned requirements; ``shared`` is what every peer imports:
the model, loaded and called in the same way. The folders are no packages: a peer's interpreter runs
the script, with ``shared`` on its path.
"""
