"""All cases in one application, for servers that have no WSGIScriptAlias."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from wsgiref.util import FileWrapper


def load(script):
    loader = SourceFileLoader(script.stem, str(script))
    module = module_from_spec(spec_from_loader(script.stem, loader))
    loader.exec_module(module)
    return module.application


APPLICATIONS = {f"/{script.stem}": load(script) for script in Path(__file__).parent.glob("*.wsgi")}


def application(environ, start_response):
    environ.setdefault("wsgi.file_wrapper", FileWrapper)
    return APPLICATIONS[environ["PATH_INFO"]](environ, start_response)
