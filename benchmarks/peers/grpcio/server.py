"""A plain grpcio server: a pool of threads, each decodes and classifies its photo. No batches."""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from classifier import WORKERS, Classifier, decode
from raw_grpc import OPTIONS, handlers


def main() -> None:
    """Serve until SIGTERM."""
    classifier = Classifier()

    def classify(photo: bytes, _context: grpc.ServicerContext) -> bytes:
        return repr(classifier.classify([decode(photo)])).encode()

    # One thread for each core that computes: more would only take turns.
    server = grpc.server(ThreadPoolExecutor(WORKERS), options=OPTIONS)
    server.add_generic_rpc_handlers((handlers(classify),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
