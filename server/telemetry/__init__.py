"""Metrics and logs: imported by every room of the server, importing none of them."""
