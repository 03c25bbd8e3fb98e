"""64 pieces of 1 KiB without a Content-Length: each must reach the client at once."""

from pathlib import Path

BODY = Path(__file__).with_suffix(".body").read_bytes()
PIECE = 1024


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    for start in range(0, len(BODY), PIECE):
        yield BODY[start : start + PIECE]
