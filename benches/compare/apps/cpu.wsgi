"""An application that computes: about a millisecond of Python for each request."""


def application(environ, start_response):
    body = b"%d\n" % sum(n * n for n in range(20_000))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
