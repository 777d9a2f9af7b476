"""The HTTP gateway and the web page: ``python -m client web``.

A gRPC client that speaks HTTP on its other side. Needs the extra ``web``; imports the client
and nothing of the server.
"""
