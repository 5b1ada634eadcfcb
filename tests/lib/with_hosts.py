"""Runs a module as `python -m` does, with the names of a file resolved as from /etc/hosts: `with_hosts.py FILE MODULE`.

A line is `ADDRESS NAME`. A name under .test that the file does not have does not resolve; every other is asked for as
ever. The file is read at each question, so that a name may come back while the program runs.
"""

import runpy
import socket
import sys
from pathlib import Path

FILE, MODULE = Path(sys.argv[1]), sys.argv[2]
_ask = socket.getaddrinfo


def getaddrinfo(host, port, *args, **named):
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or not name.endswith(".test"):
        return _ask(host, port, *args, **named)
    lines = (line.split() for line in FILE.read_text(encoding="utf-8").splitlines())
    for address, known in lines:
        if known == name:
            return _ask(address, port, *args, **named)
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


socket.getaddrinfo = getaddrinfo
sys.argv = [sys.argv[0], *sys.argv[3:]]
runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
