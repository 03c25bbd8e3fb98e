"""Tells the commands beside this file what they need to know of the Python that runs it.

Prints one fact a line: the interpreter to build an engine with (of a virtual environment: the
one it was made from), the tag of that engine, the version, the prefix, the shared library. Or,
when no engine can be built for this Python, one line that says why and what to do; the exit
status is then 3.
"""

import os
import sys
import sysconfig

version = "%d.%d" % sys.version_info[:2]


def refuse(complaint, remedy):
    print("%s (Python %s) %s; %s" % (sys.executable, version, complaint, remedy))
    sys.exit(3)


def configured(*names):
    return os.path.join(*(sysconfig.get_config_var(name) or "" for name in names))


def main():
    if sys.version_info < (3, 10):
        refuse("is too old", "Python 3.10 or newer is needed")
    if sys.base_prefix == "/usr":
        remedy = "install python%s-dev" % version
    else:
        remedy = "rebuild it with --enable-shared, or name another with --python"
    library = configured("LIBDIR", "LDLIBRARY")
    if not sysconfig.get_config_var("Py_ENABLE_SHARED") or not os.path.exists(library):
        refuse("has no shared libpython", remedy)
    header = os.path.join(configured("INCLUDEPY"), "Python.h")
    if not os.path.exists(header):
        refuse("has no headers (%s)" % header, remedy)

    base = getattr(sys, "_base_executable", sys.executable)
    free_threaded = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    print(os.path.realpath(base))
    print("cp%d%d%s" % (sys.version_info[0], sys.version_info[1], free_threaded))
    print(version)
    print(sys.prefix)
    print(os.path.realpath(library))


main()
