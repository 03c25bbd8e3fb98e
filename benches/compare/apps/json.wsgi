"""An API's answer: 10 KiB of JSON, asked for with a browser's headers."""

from pathlib import Path

BODY = Path(__file__).with_suffix(".body").read_bytes()


def application(environ, start_response):
    start_response(
        "200 OK",
        [
            ("Content-Type", "application/json"),
            ("Cache-Control", "no-store"),
            ("Content-Length", str(len(BODY))),
        ],
    )
    return [BODY]
