"""Serve this folder to a browser, on this machine or to phones on the same network.

    python serve.py                      http://localhost:8000, this machine only
    python serve.py --lan                also http://<address of this machine>:8000
    python serve.py --lan --cert c.pem --key k.pem      the same over https

Python's own http.server with the headers that WebAssembly's threads need. Anyone on the network can
open the page while it is served with --lan; they see what is in this folder and nothing else.
"""

from __future__ import annotations

import argparse
import functools
import socket
import ssl
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(SimpleHTTPRequestHandler):
    """Files with the types and headers that the page needs."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        # Browsers refuse modules and slow down WebAssembly of another type.
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".json": "application/json",
        ".onnx": "application/octet-stream",
        ".tflite": "application/octet-stream",
    }

    def end_headers(self) -> None:
        """Isolate the page, so that it may have threads, and have files asked for again."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def list_directory(self, path: str) -> None:
        """Folders are not listed."""
        self.send_error(404)


def make_server(folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    """A server of `folder` that listens already; port 0 takes a free one."""
    return ThreadingHTTPServer((host, port), functools.partial(Handler, directory=str(folder)))


def own_address() -> str:
    """The address under which others on the network see this machine; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # reserved for examples: no one is there
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lan", action="store_true", help="let other machines in")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--cert", type=Path, help="certificate for https, PEM")
    parser.add_argument("--key", type=Path, help="its private key, PEM")
    given = parser.parse_args()
    host = "" if given.lan else "127.0.0.1"
    with make_server(Path(__file__).parent, host, given.port) as server:
        scheme = "http"
        if given.cert:
            scheme, context = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(given.cert, given.key)
            # The handshake is left to each request's thread: a silent client must hold up no one.
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        port = server.server_address[1]
        print(f"{scheme}://localhost:{port}", flush=True)
        if given.lan:
            print(f"{scheme}://{own_address()}:{port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
