"""What `apxs/serve` shows when no script is named: a greeting, and the request as WSGI sees it."""

import html
import platform

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Python answers</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ border-top: 1px solid #8884; padding: .2rem .5rem; text-align: left; vertical-align: top }}
th, td {{ font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere }}
</style>
</head>
<body>
<h1>Python answers</h1>
<p>Python {python} in Apache httpd, through {module}.</p>
<h2>environ</h2>
<table>
{rows}
</table>
</body>
</html>
"""

ROW = "<tr><th>{}</th><td>{}</td></tr>"


def application(environ, start_response):
    page = PAGE.format(
        python=platform.python_version(),
        module="mod_wsgi " + ".".join(map(str, environ["mod_wsgi.version"])),
        rows="\n".join(
            ROW.format(html.escape(name), html.escape(repr(value)))
            for name, value in sorted(environ.items())
        ),
    )
    body = page.encode("utf-8")
    start_response(
        "200 OK",
        [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))],
    )
    return [body]
