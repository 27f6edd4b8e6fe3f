"""`python -m flowledger`: the same as the `flowledger` command."""

from flowledger.adapters.cli import main

if __name__ == "__main__":
    main()
