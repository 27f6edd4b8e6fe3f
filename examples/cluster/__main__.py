"""``python -m examples.cluster [FILE.json] [--key KEY]``: provision the cluster of a file, or go on where it stopped.

Prints where each server listens. Exits with 1 if the run did not succeed, with 4 if somebody else drives it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flowledger.events.errors import Refused

from .cloud import Cloud
from .flows import app, create_cluster
from .models import read_cluster
from .processes import work_dir


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.cluster", description="provision a cluster")
    parser.add_argument("file", nargs="?", type=Path, default=Path(__file__).with_name("cluster.json"))
    parser.add_argument("--key", help="the same key goes on with the same run")
    options = parser.parse_args(argv)
    try:
        run = app.run(create_cluster(read_cluster(options.file)), key=options.key, check=False)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return 4
    print(f"run {run.id} {run.state}")
    if run.state != "SUCCEEDED":
        for failure in run.failures:
            print(f"  {failure.path}: {failure.type}: {failure.message}")
        return 1
    cloud = Cloud(work_dir())
    for server_id in run.result:
        print(f"  {server_id}  {cloud.url(server_id)}  {len(cloud.peers(server_id))} peers confirmed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
