"""What the scripts here have in common. Each is a client and, behind the proxy, its backend: script.py CA-FILE CHECK.

It writes the port of its backend and reads that of the proxy. When the check holds, it ends with code 0.
"""

import faulthandler
import ssl
import sys
import threading

PATIENCE = 30

# A check that hangs ends with the stacks of all threads, before the test gives up.
faulthandler.dump_traceback_later(PATIENCE + 5, exit=True)


class Event(threading.Event):
    """That something has happened, or the check fails."""

    def expect(self, what):
        assert self.wait(PATIENCE), f"never happened: {what}"


class Acknowledged(threading.Semaphore):
    """What the client has got; the backend goes on only then."""

    def __init__(self):
        super().__init__(0)

    def expect(self):
        assert self.acquire(timeout=PATIENCE), "the client got nothing more"


def trusting():
    """A context that trusts the proxy's certificate alone."""
    return ssl.create_default_context(cafile=sys.argv[1])


def run(backend_port, checks):
    """Runs the check that was asked for with the proxy's port."""
    check = checks[sys.argv[2]]
    print(backend_port, flush=True)
    check(int(sys.stdin.readline()))
    sys.stdout.flush()
