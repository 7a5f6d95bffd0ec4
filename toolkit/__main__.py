"""`python -m toolkit` is `tk`."""

from toolkit.cli.main import main

if __name__ == "__main__":
    main()
