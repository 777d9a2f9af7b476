"""What serving reaches on an NVIDIA GPU: ``python -m benchmarks.gpu``."""
