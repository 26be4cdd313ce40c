"""A connection that breaks when a test says so: TCP between a client and a server."""

import contextlib
import socket
import threading


class CutOff:
    """Forwards to `address`; breaks each connection after so many bytes from the server."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.limits = []
        """Bytes after which the next connections break; empty: they live."""
        self.upward = []
        """The same for bytes to the server."""
        self.connections = 0
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                self.connections += 1
                limit = self.limits.pop(0) if self.limits else None
                upward = self.upward.pop(0) if self.upward else None
                threading.Thread(target=self._pump, args=(client, server, upward),
                                 daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, limit),
                                 daemon=True).start()

    def _pump(self, source, target, limit):
        passed = 0
        with contextlib.suppress(OSError):
            while limit is None or passed < limit:
                data = source.recv(4096)
                if not data:
                    break
                target.sendall(data)
                passed += len(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self):
        for one in [self._listener, *self._sockets]:
            one.close()
