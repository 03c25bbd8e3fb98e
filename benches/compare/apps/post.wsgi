"""An upload: reads the whole body and answers with its length."""


def application(environ, start_response):
    body = b"%d\n" % len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
