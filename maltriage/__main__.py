"""`python -m maltriage`."""

from maltriage.cli.app import main

if __name__ == "__main__":
    main()
