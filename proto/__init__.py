"""Menagerie's gRPC contract: the .proto files and the Python generated beside them."""
