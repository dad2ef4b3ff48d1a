"""`python -m subspan`: the command line."""

from subspan.cli import main

if __name__ == "__main__":
    main()
