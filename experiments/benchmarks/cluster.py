"""A sweep on a cluster of Ray whose node is killed in the middle: whether every run is there, once.

    uv run python experiments/benchmarks/cluster.py --runs 200
    uv run python experiments/benchmarks/cluster.py --runs 200 --shared

Starts an MLflow server with PostgreSQL and an S3 server, and three nodes of Ray on this machine: one that only
distributes, and two with one CPU core each and their own home, caches and, except with ``--shared``, file system for
the sweep's folder (a mount namespace, which needs root or unprivileged user namespaces). Starts a sweep of small
trainings, and when half of the runs have finished, kills all processes of one node at once.

Prints one JSON line: the exit code, runs by status, numbers of the sweep that are missing or twice, runs that were put
aside, and ``seconds``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--shared", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    import clusters
    from commands import small
    from pictures import rendered_folder
    from stores import runs_at

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True)))
        folder.chmod(0o755)  # PostgreSQL runs as another user
        work = folder / "work"
        rendered_folder(work / "images")
        variables = stack.enter_context(clusters.object_store(folder / "s3"))
        database = stack.enter_context(clusters.postgresql(folder / "postgresql"))
        address, _ = stack.enter_context(
            clusters.mlflow_server(folder / "server", database=database, artifacts="s3://runs", **variables)
        )
        cluster = stack.enter_context(clusters.ray_cluster(folder, work=None if options.shared else work))
        seeds = ",".join(map(str, range(options.runs)))
        words = ["train", "-m", *small("images"), f"hyperparameters.seed={seeds}", "launcher=ray"]
        words += [f"launcher.address={cluster.address}", "tracking=server", f"tracking.uri={address}"]
        started = time.monotonic()
        with (folder / "log").open("w") as log:
            command = [sys.executable, "-m", "bloodcell", *words]
            sweep = subprocess.Popen(
                command, cwd=work, env=os.environ | dict(cluster.variables), stdout=log, stderr=log
            )
            killed = False
            while sweep.poll() is None:
                time.sleep(2)
                finished = sum(run.info.status == "FINISHED" for run in runs_at(address))
                print(f"{finished} of {options.runs} runs finished", file=sys.stderr)
                if not killed and finished >= options.runs / 2:
                    killed = True
                    clusters.kill_group(cluster.nodes["b"])
        runs = runs_at(address)
        aside = [run for run in runs if "aside" in run.data.tags]
        numbers = Counter(
            int(run.data.tags["sweep_job"]) for run in runs if "sweep_job" in run.data.tags and run not in aside
        )
        result = {
            "runs": options.runs,
            "shared": options.shared,
            "exit_code": sweep.returncode,
            "statuses": Counter(run.info.status for run in runs),
            "missing": sorted(set(range(options.runs)) - numbers.keys()),
            "twice": sorted(number for number, count in numbers.items() if count > 1),
            "aside": len(aside),
            "seconds": round(time.monotonic() - started),
        }
        if sweep.returncode:
            print((folder / "log").read_text(), file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
