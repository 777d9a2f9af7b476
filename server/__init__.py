"""Serve published artifacts over gRPC."""
