"""Processes that end with others."""

import subprocess
import sys

PROGRAM = """
import subprocess, sys, time
from bloodcell.processes import exit_with_process

exit_with_process(int(sys.argv[1]))
time.sleep(60)
"""


def test_a_process_whose_end_its_parent_has_not_noticed_has_ended():
    ended = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    ended.stdout.read()  # until it has closed it; its exit code is not asked for
    follower = subprocess.Popen([sys.executable, "-c", PROGRAM, str(ended.pid)])
    try:
        assert follower.wait(timeout=20) == 1
    finally:
        follower.kill()
        ended.wait()
        ended.stdout.close()
