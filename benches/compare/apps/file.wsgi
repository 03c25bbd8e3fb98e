"""A 10 MiB file through wsgi.file_wrapper."""

from pathlib import Path

FILE = Path(__file__).with_suffix(".body")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return environ["wsgi.file_wrapper"](FILE.open("rb"))
