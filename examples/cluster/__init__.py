"""The job flowledger exists for: a cluster of real server processes is provisioned, or undone.

    flows.py       the app: tasks, reverts, and the flows made of them      ← read this one first
    models.py      what a cluster description says (cluster.json, broken.json)
    cloud.py       the "cloud": create, delete, ready, configure
    homes.py       one directory and one lock per server: what makes create and delete idempotent
    server.py      the server itself, a program of its own
    processes.py   which servers run, asked of the operating system and not of the log
    __main__.py    python -m examples.cluster cluster.json

Servers live in ``$CLUSTER_DIR/servers`` (default: ``demo/servers`` in the working directory).
"""
