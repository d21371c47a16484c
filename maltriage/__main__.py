"""`python -m maltriage`."""

from maltriage.cli.entry import main

if __name__ == "__main__":
    main()
