"""The command line: ``python -m client``. Uses the client as any other program would."""

import os

# gRPC logs to standard error by itself, for example when a server goes away. The commands say
# what happened in a sentence. This has to be set before gRPC is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
