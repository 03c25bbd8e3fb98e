"""Tells the commands beside this file what they need to know of the Python that runs it.

Prints one fact a line: the interpreter to build an engine with (of a virtual environment: the
one it was made from), the tag of that engine, the version, the prefix, the shared library, and the
program that has all of Python in it; of the last two "-" if there is none, but never of both. Or, when
no engine can be built for this Python, one line that says why and what to do; the exit status is
then 3.
"""

import os
import re
import sys
import sysconfig

version = "%d.%d" % sys.version_info[:2]


def refuse(complaint, remedy):
    print("%s (Python %s) %s; %s" % (sys.executable, version, complaint, remedy))
    sys.exit(3)


def configured(*names):
    return os.path.join(*(sysconfig.get_config_var(name) or "" for name in names))


def shared_library():
    library = configured("LIBDIR", "LDLIBRARY")
    if sysconfig.get_config_var("Py_ENABLE_SHARED") and os.path.exists(library):
        return os.path.realpath(library)
    return "-"


def whole_program(program):
    """The program, unless it has taken Python from a library."""
    with open("/proc/self/maps") as maps:
        is_thin = re.search(r"/libpython[^/\n]*\.so", maps.read())
    return "-" if is_thin else program


def main():
    if sys.version_info < (3, 10):
        refuse("is too old", "Python 3.10 or newer is needed")
    base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    library, program = shared_library(), whole_program(base)
    if sys.base_prefix == "/usr":
        remedy = "install python%s-dev" % version
    else:
        remedy = "install what it lacks, or name another with --python"
    if library == program == "-":
        refuse("has no shared libpython", remedy)
    header = os.path.join(configured("INCLUDEPY"), "Python.h")
    if not os.path.exists(header):
        refuse("has no headers (%s)" % header, remedy)

    free_threaded = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    print(base)
    print("cp%d%d%s" % (sys.version_info[0], sys.version_info[1], free_threaded))
    print(version)
    print(sys.prefix)
    print(library)
    print(program)


main()
