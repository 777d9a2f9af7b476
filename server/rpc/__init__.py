"""gRPC: translate messages, nothing else."""
