"""A name server for one name: A records with a life of a second (RFC 1035)."""

import socket
import struct
import threading

_HEADER = struct.Struct(">HHHHHH")
_ANSWER_FLAGS = 0x8580  # a response, authoritative, no error
_TYPE_A, _CLASS_IN, _TTL_S = 1, 1, 1
_POINTER_TO_QUESTION = 0xC00C


class NameServer:
    """Answers every question for an A record with ``addresses``, and others with nothing."""

    def __init__(self, address: str = "127.0.0.1", port: int = 53) -> None:
        self.addresses: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(512)
            self._socket.sendto(self._reply(query), sender)

    def _reply(self, query: bytes) -> bytes:
        end = query.index(b"\0", _HEADER.size) + 5  # the name, its type and class
        question = query[_HEADER.size : end]
        (kind, _) = struct.unpack(">HH", question[-4:])
        found = list(self.addresses) if kind == _TYPE_A else []
        header = _HEADER.pack(int.from_bytes(query[:2]), _ANSWER_FLAGS, 1, len(found), 0, 0)
        records = [
            struct.pack(">HHHIH", _POINTER_TO_QUESTION, _TYPE_A, _CLASS_IN, _TTL_S, 4)
            + socket.inet_aton(address)
            for address in found
        ]
        return header + question + b"".join(records)
