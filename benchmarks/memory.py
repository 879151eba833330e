"""Peak memory of a process and all that it begins, shared pages counted once."""

import threading
from pathlib import Path

EVERY = 0.1  # seconds between two looks


class PeakMemory:
    """Within ``with PeakMemory(session) as peak:`` the largest memory of a session's processes, in ``peak.mb``."""

    def __init__(self, session, every=EVERY):
        self.session, self.every, self.mb = session, every, 0.0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def _watch(self):
        while not self.done.wait(self.every):
            self.mb = max(self.mb, sum(map(proportional_mb, processes_of(self.session))))


def processes_of(session):
    """The session's processes. The session is the sixth field in /proc/PID/stat, the fourth after the name."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # gone by now
            continue
        if int(fields[3]) == session:
            yield folder


def proportional_mb(folder):
    """Proportional set size in MB: each process counts its share of shared pages."""
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
