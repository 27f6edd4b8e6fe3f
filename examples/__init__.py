"""Programs to start from. Each runs as it stands."""
