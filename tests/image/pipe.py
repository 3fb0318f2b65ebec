"""Carries one connection of the guest, on standard input and output, to a port of this machine: pipe.py PORT. QEMU starts it."""

import os
import select
import socket
import sys

outside = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
inside = 0
while True:
    for ready in select.select([inside, outside], [], [])[0]:
        if ready is outside:
            if not (data := outside.recv(65536)):
                sys.exit()
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]
        else:
            if not (data := os.read(inside, 65536)):
                sys.exit()
            outside.sendall(data)
