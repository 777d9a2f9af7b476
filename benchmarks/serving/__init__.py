"""Our server, its peers and the limits, side by side in interleaved rounds.

    python -m benchmarks.peers setup all
    python -m benchmarks.serving --rounds 5      # goes on where it stopped; --minutes 4 stops early
    python -m benchmarks.serving --report         # table and plot

Each contender of a round is started, put under every load of every scenario, and ended; the order
changes from round to round. All serve the same file with the same batches and lanes on all cores of
the machine, which the load generator shares. A rate suffers from whatever else the machine does,
the processor time for a photo hardly does: both are kept.
"""
