"""The migrations of the Postgres schema, run by `flowledger db upgrade`. Each leads one version up; none leads down."""
