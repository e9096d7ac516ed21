"""Processes that end with others, and the threads of this one."""

import subprocess
import sys

import numpy as np  # noqa: F401 - loads the linear algebra whose threads are counted
from threadpoolctl import threadpool_info

from bloodcell.processes import one_blas_thread

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


def test_the_limit_of_threads_ends_with_the_last_block_that_has_it():
    def n_threads() -> list[int]:
        return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]

    before = n_threads()
    one, other = one_blas_thread(), one_blas_thread()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert set(n_threads()) == {1}
    other.__exit__(None, None, None)
    assert n_threads() == before
