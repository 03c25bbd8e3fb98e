"""1 MiB in one piece."""

from pathlib import Path

BODY = Path(__file__).with_suffix(".body").read_bytes()


def application(environ, start_response):
    start_response(
        "200 OK",
        [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(BODY)))],
    )
    return [BODY]
