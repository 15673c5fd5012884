"""`python -m verismo` is the `verismo` command."""

from verismo.cli.main import main

if __name__ == "__main__":
    main()
