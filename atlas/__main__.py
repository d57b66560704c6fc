"""`python -m atlas` is the `atlas` command."""

from atlas.cli import main

if __name__ == "__main__":
    main(prog_name="atlas")
