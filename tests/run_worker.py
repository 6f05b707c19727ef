"""The command `ncourse`, with a small papyan2020 and, if asked for, a fault; tests start it.

FAULT="RANK KIND PASS" in the environment: at its PASS-th forward pass over a split, the process
RANK raises an error ("raise") or is killed ("kill").
"""

import os
import signal
import sys

from ncourse import training
from ncourse.course import cli
from ncourse.papers import papyan2020

SMALL = papyan2020.Scale(10, (8,), 4, (4,))
extract = training.extract
passes = 0


def faulty(*arguments, **options):
    global passes
    passes += 1
    rank, kind, at = os.environ["FAULT"].split()
    if passes == int(at) and training.place().rank == int(rank):
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError("on purpose")
    return extract(*arguments, **options)


if __name__ == "__main__":
    papyan2020.SCALES["laptop"] = SMALL
    if "FAULT" in os.environ:
        training.measuring.extract = faulty
    sys.argv[0] = "ncourse"
    cli.main()
