"""`python -m mmtool`."""

from mmtool.cli import main

if __name__ == "__main__":
    main()
